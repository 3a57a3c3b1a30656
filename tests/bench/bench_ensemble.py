"""Ensembles of 100,000 members: planned, rendered in chunks, and one row found by bash."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from pathlib import Path

from hpcorch.build import Builder
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.settings import RunSettings
from hpcorch.paths import templates_dir
from hpcorch.plan import Plan
from hpcorch.rundir import write_table
from hpcorch.schedulers.base import Limits
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.sites import Site
from tests.bench import measure

MEMBERS = 100_000
READ_ROW = '. "$1/lib/task.sh"; HPCORCH_RUN_DIR=$2 HPCORCH_NAME=e HPCORCH_TABLE_ROWS=1000; '
READ_ROW += 'hpcorch_read_task "$3"'


def planned(builder: Builder, members: int) -> Plan:
    settings = RunSettings("/bin/true", ["--input", "mesh.dat"], env_vars={"OMP_NUM_THREADS": 1})
    params = {"x": list(range(members // 10)), "y": list(range(10))}
    ensemble = Ensemble("e", params, run_settings=settings, params_as_args=["x", "y"])
    return builder.ensemble(ensemble, [], Path("/tmp/e"))


def bench_planning(builder: Builder) -> Plan:
    """From the description to the scripts of 100 arrays."""
    plans: list[Plan] = []

    def whole(members: int) -> float:
        def work() -> None:
            plans.append(planned(builder, members))
            builder.finish(plans[-1], Limits(1000))

        return measure.seconds(work)

    few, many = whole(MEMBERS // 100), whole(MEMBERS)
    reference = f"1,000 members {few:.3f} s, ratio {many / few:.0f}"
    measure.show("plan and render 100,000 members", many, "s", "< 10", reference)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measure.show("memory at most", peak, "MB", "< 500")
    return plans[-1]


def bench_rows(plan: Plan) -> None:
    """What a task spends on finding its row, beside starting bash."""
    with tempfile.TemporaryDirectory() as where:
        write_table(Path(where), plan.table, plan.names)

        def read(row: int) -> float:
            argv = ["bash", "-euc", READ_ROW, "_", str(templates_dir()), where, str(row)]
            return measure.seconds(lambda: subprocess.run(argv, check=True))

        last, first = measure.paired(lambda: read(MEMBERS - 1), lambda: read(0), rounds=15)
    reference = f"row 0 {first * 1000:.1f} ms, ratio {last / first:.2f}"
    measure.show("bash finds row 99,999", last * 1000, "ms", "< 50", reference)


if __name__ == "__main__":
    bench_rows(bench_planning(Builder(Site(), SlurmScheduler(), os.environ)))
