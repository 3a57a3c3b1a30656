"""How long it takes to import, to render, and to start databases.

Cluster start-up is counted from the moment the last shard answers PING until address.env appears;
the server's own floor for a cluster that may be written to is 2 s (CLUSTER_WRITABLE_DELAY).
"""

from __future__ import annotations

import functools
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from hpcorch.build import Builder, choose_scheduler
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.experiment import Experiment
from hpcorch.sites import Site
from tests.bench import measure

SERVER_FLOOR = 2.0


def bench_imports() -> None:
    """Whole processes, against a bare Python that does nothing."""
    for name, argv in (
        ("import hpcorch", [sys.executable, "-c", "import hpcorch"]),
        ("hpcorch --help", [sys.executable, "-m", "hpcorch", "--help"]),
    ):
        ours, bare = measure.paired(
            functools.partial(measure.command_seconds, argv),
            lambda: measure.command_seconds([sys.executable, "-c", "pass"]),
            rounds=15,
        )
        reference = (
            f"{ours * 1000:.1f} ms, bare python {bare * 1000:.1f} ms, ratio {ours / bare:.2f}"
        )
        measure.show(f"{name} above bare python", (ours - bare) * 1000, "ms", "<= 40", reference)


def bench_render() -> None:
    """A database of 10,000 shards, planned and rendered, against one of 10."""
    site = Site()
    builder = Builder(site, choose_scheduler("local", site, os.environ)[0], os.environ)

    def render(shards: int) -> float:
        database = Orchestrator(db_nodes=shards, security="open")
        return measure.seconds(
            lambda: builder.finish(builder.database(database, Path("/tmp/render-bench")))
        )

    render(10)
    large, small = measure.paired(lambda: render(10_000), lambda: render(10), rounds=7)
    reference = f"10 elements {small * 1000:.1f} ms, ratio {large / small:.1f}"
    measure.show("render of an array job, 10,000 elements", large * 1000, "ms", "< 100", reference)


def free_port(count: int) -> int:
    """Return the first of `count` ports that nobody listens on now."""
    for first in range(20_000, 40_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise SystemExit("no free ports")


def bench_single() -> None:
    """Experiment.start of one server until its address is published."""
    with tempfile.TemporaryDirectory() as where:
        experiment = Experiment("bench", exp_path=where)
        database = experiment.create_database(port=free_port(1))

        def once() -> float:
            took = measure.seconds(lambda: experiment.start(database))
            experiment.stop(database)
            return took

        first = once()
        measure.show(
            "one database, start to address.env",
            statistics.median(once() for _ in range(5)),
            "s",
            "<= 0.5",
            f"first one {first:.2f} s",
        )


def bench_cluster(shards: int, security: str) -> None:
    """From the moment the last shard says in its log that it is ready to address.env.

    With security="open" the bus is plain. With TLS on it every shard makes 2 x (shards - 1)
    handshakes at once, which many shards on few CPUs feel.
    """
    with tempfile.TemporaryDirectory() as where:
        experiment = Experiment("bench", exp_path=where)
        database = experiment.create_database(
            port=free_port(shards), db_nodes=shards, security=security
        )
        bus = "TLS" if experiment.preview(database).find("HPCORCH_BUS_TLS=1") >= 0 else "plain"
        booted: list[float] = []
        watcher = threading.Thread(
            target=watch_boot, args=(Path(where, database.name), shards, booted)
        )
        watcher.start()
        took = measure.seconds(lambda: experiment.start(database))
        ready = time.perf_counter()
        watcher.join()
        experiment.stop(database)
    since_boot = ready - booted[0]
    reference = f"{since_boot / SERVER_FLOOR:.2f} x the server's floor; {took:.2f} s from start()"
    what = f"{shards} shards, {bus} bus, last boot to address.env"
    measure.show(what, since_boot, "s", "<= 2.3", reference)


def watch_boot(directory: Path, shards: int, booted: list[float]) -> None:
    """Note when every server has said in its log that it is ready."""
    logs = [directory / "logs" / f"{directory.name}.{index}.log" for index in range(shards)]
    waiting = set(logs)
    while waiting:
        waiting = {
            log
            for log in waiting
            if not log.exists() or b"ready to accept" not in log.read_bytes().lower()
        }
        time.sleep(0.005)
    booted.append(time.perf_counter())


if __name__ == "__main__":
    os.environ["HPCORCH_LOG_LEVEL"] = "quiet"
    bench_imports()
    bench_render()
    bench_single()
    for size in (3, 16, 48):
        for tier in ("open", "password"):
            bench_cluster(size, tier)
