"""Batch systems: each module turns requests into command lines and their output into data.

Other packages may add one: an entry point in the group `hpcorch.schedulers` names a callable that
takes the directory of the templates and the environment and returns a Scheduler (see `base`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from hpcorch.errors import InputError, SchedulerError
from hpcorch.schedulers.base import Options, Scheduler
from hpcorch.schedulers.local import LocalScheduler
from hpcorch.schedulers.pbs import PbsScheduler
from hpcorch.schedulers.pbs_steps import PbsStepsScheduler
from hpcorch.schedulers.pbs_torque import TorqueScheduler
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.schedulers.slurm_steps import SlurmStepsScheduler

GROUP = "hpcorch.schedulers"


def _local(templates: Path, environ: Mapping[str, str], options: Options) -> Scheduler:
    del environ, options
    return LocalScheduler(str(templates / _LOCAL_TOOL))


def _slurm(templates: Path, environ: Mapping[str, str], options: Options) -> Scheduler:
    del templates, environ
    return SlurmScheduler(options)


def _pbs(templates: Path, environ: Mapping[str, str], options: Options) -> Scheduler:
    del templates, environ
    return PbsScheduler(options)


def _slurm_steps(templates: Path, environ: Mapping[str, str], options: Options) -> Scheduler:
    del options
    return SlurmStepsScheduler(str(templates / _LOCAL_TOOL), environ.get("SLURM_JOB_ID", ""))


def _pbs_steps(templates: Path, environ: Mapping[str, str], options: Options) -> Scheduler:
    del options
    return PbsStepsScheduler(str(templates / _LOCAL_TOOL), environ)


def _torque(templates: Path, environ: Mapping[str, str], options: Options) -> Scheduler:
    del templates, environ
    return TorqueScheduler(options)


_Factory = Callable[[Path, Mapping[str, str], Options], Scheduler]
_NO_SITE = Options()
_LOCAL_TOOL = Path("local", "hpcorch-local")
_BUILT_IN: dict[str, _Factory] = {
    "slurm": _slurm,
    "slurm-steps": _slurm_steps,
    "pbs": _pbs,
    "pbs-steps": _pbs_steps,
    "torque": _torque,
    "local": _local,
}


def names() -> list[str]:
    """Return the names of all schedulers, built-in ones first."""
    plugins = sorted(point.name for point in entry_points(group=GROUP))
    return [*_BUILT_IN, *(name for name in plugins if name not in _BUILT_IN)]


def create(
    name: str,
    templates: Path,
    environ: Mapping[str, str],
    options: Options = _NO_SITE,
) -> Scheduler:
    """Return the scheduler `name`; raises InputError if unknown, SchedulerError if broken."""
    if name in _BUILT_IN:
        return _BUILT_IN[name](templates, environ, options)
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _from_plugin(point, templates, environ)
    raise InputError(f"launcher is {name!r}: it must be auto or one of " + ", ".join(names()))


def _from_plugin(point: EntryPoint, templates: Path, environ: Mapping[str, str]) -> Scheduler:
    try:
        made: Scheduler = point.load()(templates, environ)
    except Exception as error:
        raise SchedulerError(
            f"the scheduler plugin {point.value} cannot be used: {error}"
        ) from error
    return made
