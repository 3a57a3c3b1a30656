"""What a database beside a program and its pinning buy: put and get of 64 KiB.

The mean tells what a program waits for; medians hide the calls that found the server's CPU busy.

On the real Slurm of this machine, whose nodes share its CPUs: a database on another node is here
only a longer way through the kernel, with no wire, and real networks are slower. With two CPUs,
keeping the program off one of them costs it half of what it has; on real nodes it is a small part.
Only an idle machine tells anything: what is pinned cannot make way for the work of others.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench import measure
from tests.testbed.cluster import Cluster

ROUNDS = 3
# Burns all CPUs that it has, when asked, by processes of its own, and times calls; prints the
# microseconds of their mean and of the slowest in a hundred.
_PROGRAM = """
import json, os, signal, statistics, sys, time
import numpy as np
from hpcorch import Client, ConfigOptions
burners = []
for _ in os.sched_getaffinity(0) if sys.argv[1] == "1" else ():
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    burners.append(pid)
try:
    client = Client(ConfigOptions.create_from_environment(""))
    name, array = f"t{os.getpid()}", np.zeros(8192)
    times = []
    for _ in range(1050):
        began = time.perf_counter()
        client.put_tensor(name, array)
        client.get_tensor(name)
        times.append((time.perf_counter() - began) * 1e6)
    times = sorted(times[50:])
    print(json.dumps([statistics.mean(times), times[-10]]), flush=True)
finally:
    for pid in burners:
        os.kill(pid, signal.SIGKILL)
"""
_DRIVER = """
import json, sys
from pathlib import Path
from hpcorch import Experiment
place, ranks, burning, limit = json.loads(sys.argv[2])
experiment = Experiment("bench", exp_path=sys.argv[1], launcher="slurm")
words = ["-c", sys.argv[3], str(int(burning))]
settings = experiment.create_run_settings(sys.executable, words, "srun")
settings.set_tasks(ranks)
batch = experiment.create_batch_settings()
batch.set_hostlist("node1")
model = experiment.create_model("program", settings, batch_settings=batch)
if place == "uds":
    model.colocate_db_uds(custom_pinning=[1], limit_app_cpus=limit)
elif place == "uds unpinned":
    model.colocate_db_uds(custom_pinning=[])
elif place == "tcp":
    model.colocate_db_tcp(custom_pinning=[1], limit_app_cpus=limit)
else:
    database = experiment.create_database(hosts="node2", custom_pinning=[1])
    experiment.start(database)
experiment.start(model)
print(Path(sys.argv[1], "program/program.out").read_text())
experiment.stop()
"""


class Case(NamedTuple):
    """Where the database is, how many processes use it, whether they burn CPU and where."""

    place: str
    ranks: int = 1
    burning: bool = False
    limit: bool = True

    def __str__(self) -> str:
        """Name the case in one line of the table."""
        kept = "" if self.limit else ", limit_app_cpus=False"
        return f"{self.place} x {self.ranks}{', burning' if self.burning else ''}{kept}"


PLACES = ("uds", "uds unpinned", "tcp", "other node")
CASES = [
    *(Case(place, ranks) for ranks in (1, 2) for place in PLACES),
    *(Case("uds", 1, True, limit) for limit in (True, False)),
    *(Case("uds", 2, True, limit) for limit in (True, False)),
    *(Case(place, ranks, True) for ranks in (1, 2) for place in ("uds unpinned", "other node")),
]


def call_times(cluster: Cluster, case: Case) -> tuple[float, float]:
    """Return the microseconds of put and get together, mean and slow, over one run's processes."""
    where = Path(tempfile.mkdtemp(dir=cluster.shared))
    argv = [sys.executable, "-c", _DRIVER, str(where / "exp"), json.dumps(case), _PROGRAM]
    quiet = {"HPCORCH_LOG_LEVEL": "quiet", "PYTHONPATH": str(Path.cwd())}
    done = cluster.run(argv, env=quiet, cwd=where, timeout=120)
    shutil.rmtree(where)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    if len(found) != case.ranks:
        raise SystemExit(f"{case}: {done.stdout}{done.stderr}")
    return statistics.median(it[0] for it in found), statistics.median(it[1] for it in found)


def others_share(seconds: float = 3.0) -> float:
    """Return which part of this machine's CPUs is used while this bench does nothing."""
    before = _clock_ticks()
    time.sleep(seconds)
    spent = [after - then for then, after in zip(before, _clock_ticks(), strict=True)]
    # The fourth and fifth number: idle, and waiting for a disk.
    return 1 - (spent[3] + spent[4]) / sum(spent)


def _clock_ticks() -> list[int]:
    """Return the first line of /proc/stat without its last numbers, which count twice."""
    return [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]


def bench() -> None:
    """All cases in turn, several times, so that drift hits all of them."""
    measure.show("CPUs that others used before", 100 * others_share(), "%", "0")
    times: dict[Case, list[tuple[float, float]]] = {case: [] for case in CASES}
    with Cluster(nodes=2, cpus=2) as cluster:
        for _ in range(ROUNDS):
            for case in CASES:
                times[case].append(call_times(cluster, case))
    means = {case: statistics.median(mean for mean, _ in times[case]) for case in CASES}
    slow = {case: statistics.median(slow for _, slow in times[case]) for case in CASES}
    for case in CASES:
        quiet = means[case._replace(burning=False, limit=True)]
        reference = (
            f"1 in 100 {slow[case]:.0f} us; {means[case] / means[CASES[0]]:.2f} x the first, "
            f"{means[case] / quiet:.2f} x without burning"
        )
        measure.show(str(case), means[case], "us", "(told)", reference)
    measure.show("CPUs that others used after", 100 * others_share(), "%", "0")


if __name__ == "__main__":
    bench()
