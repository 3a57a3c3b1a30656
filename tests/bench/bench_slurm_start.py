"""How long a database on Slurm takes from the moment all its shards run until it can be used.

On a real Slurm of four nodes on this machine; times are those of the files that the jobs write.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from tests.bench import measure
from tests.testbed.cluster import Cluster

SERVER_FLOOR = 2.0
SHARDS = 3
_DRIVER = """
import sys
from pathlib import Path
from hpcorch import Experiment
experiment = Experiment("bench", exp_path=sys.argv[1], launcher="slurm")
database = experiment.create_database(db_nodes=int(sys.argv[2]), layout=sys.argv[3])
experiment.start(database)
where = Path(sys.argv[1], "orchestrator")
print(max(path.stat().st_mtime_ns for path in where.glob("shards/*.started")))
print((where / "address.env").stat().st_mtime_ns)
experiment.stop()
"""


def start_seconds(cluster: Cluster, layout: str) -> float:
    """Return the seconds from the last shard's first sign to address.env."""
    where = Path(tempfile.mkdtemp(dir=cluster.shared))
    argv = [sys.executable, "-c", _DRIVER, str(where / "exp"), str(SHARDS), layout]
    quiet = {"HPCORCH_LOG_LEVEL": "quiet", "PYTHONPATH": str(Path.cwd())}
    done = cluster.run(argv, env=quiet, cwd=where, timeout=120)
    shutil.rmtree(where)
    running, ready = (int(word) for word in done.stdout.split())
    return (ready - running) / 1e9


def bench() -> None:
    """Arrays and gangs in turn."""
    with Cluster(nodes=4) as cluster:
        for layout in ("array", "gang"):
            took = statistics.median(start_seconds(cluster, layout) for _ in range(3))
            reference = f"{took / SERVER_FLOOR:.2f} x the server's floor"
            what = f"{SHARDS} shards on Slurm ({layout}), all run to address.env"
            measure.show(what, took, "s", "<= 2.5", reference)


if __name__ == "__main__":
    bench()
