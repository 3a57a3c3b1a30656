"""The acceptance test of a site: a database and a program that really run on its nodes."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcorch import Experiment, rundir
from hpcorch.cli.finding import Finding
from hpcorch.cli.output import messages_aside
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import HpcorchError, StartFailed
from hpcorch.schedulers.base import TaskState

# Writes to the database on its own node and reads from the one with two shards.
_PROGRAM = """
import numpy
from hpcorch import Client, ConfigOptions
near = Client(ConfigOptions.create_from_environment("near"))
near.put_tensor("site-check", numpy.arange(8))
far = Client()
assert (near.get_tensor("site-check") == far.get_tensor("site-check")).all()
"""
_SHARDS = 2


def submit_and_use(launcher: str, batch: BatchSettings, where: Path) -> Iterator[Finding]:
    """Start a database of two shards and a program beside one of its own; use both; stop.

    The files are in a new directory of `where`, which is removed when everything went well.
    """
    folder = Path(tempfile.mkdtemp(prefix="hpcorch-site-check.", dir=where))
    messages_aside("site_check")
    run = _Acceptance(Experiment("site_check", exp_path=folder, launcher=launcher), batch)
    steps: tuple[tuple[str, Callable[[], str]], ...] = (
        (f"start {_SHARDS} shards", run.start),
        ("put and get here", run.use),
        ("program with a database", run.colocate),
    )
    good = True
    try:
        for name, step in steps:
            finding = _tried(name, step, f"hpcorch logs {folder}")
            good = good and finding.status == "ok"
            yield finding
            if not good:
                break
    finally:
        stopped = _tried("stop", run.stop, f"hpcorch stop {folder}")
    yield stopped
    if good and stopped.status == "ok":
        rundir.remove_all(folder)


def _tried(name: str, step: Callable[[], str], cure: str) -> Finding:
    began = time.monotonic()
    try:
        detail = step()
    except HpcorchError as error:
        return Finding(name, "fail", error.message, error.hint or cure)
    return Finding(name, "ok", f"{detail} ({time.monotonic() - began:.1f} s)")


class _Acceptance:
    """The steps, each of which says in a few words what it has seen."""

    def __init__(self, experiment: Experiment, batch: BatchSettings) -> None:
        self._experiment = experiment
        self._batch = batch
        self._database: Orchestrator = experiment.create_database(
            db_nodes=_SHARDS, account=batch.account, time=batch.walltime, queue=batch.queue
        )

    def start(self) -> str:
        self._experiment.start(self._database)
        return ", ".join(self._database.get_address())

    def use(self) -> str:
        import numpy as np

        from hpcorch import Client

        client = Client(cluster=True, address=self._database.get_address()[0])
        tensor = np.arange(8)
        client.put_tensor("site-check", tensor)
        if not np.array_equal(client.get_tensor("site-check"), tensor):
            raise StartFailed("a tensor came back changed")
        return "8 numbers came back"

    def colocate(self) -> str:
        settings = self._experiment.create_run_settings(sys.executable, ["-c", _PROGRAM])
        model: Model = self._experiment.create_model(
            "site_check_program", settings, batch_settings=self._batch
        )
        model.colocate_db_uds(db_identifier="near")
        self._experiment.start(model)
        state = self._experiment.get_status(model)[0]
        if state is not TaskState.COMPLETED:
            raise StartFailed(f"the program is {state}, not {TaskState.COMPLETED}")
        return "its own database and the two shards answered"

    def stop(self) -> str:
        self._experiment.stop()
        return "nothing runs any more"
