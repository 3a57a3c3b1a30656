"""The only module that runs programs: argv lists, a deadline, a scrubbed environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from hpcorch.errors import CommandFailed, CommandTimeout
from hpcorch.schedulers.base import Command, Result

__all__ = ["Command", "Result", "run", "scrubbed_environment"]

# A job's own variables would leak into whatever it submits (a known source of wrong CPU binding).
_SCRUBBED_PREFIXES = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PBS_", "PMI_", "PMIX_", "PMI2_")
_KEPT = frozenset({"SLURM_CONF", "PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "PBS_HOME"})


def scrubbed_environment(base: Mapping[str, str], *, own_locale: bool = False) -> dict[str, str]:
    """Return `base` without the variables of a surrounding job, and mostly with LC_ALL=C."""
    kept = {
        name: value
        for name, value in base.items()
        if name in _KEPT or not name.startswith(_SCRUBBED_PREFIXES)
    }
    return kept if own_locale else {**kept, "LC_ALL": "C"}


def run(command: Command) -> Result:
    """Run `command` to its end and return what it printed, whatever its exit code.

    Raises CommandFailed when it cannot be started, CommandTimeout when it takes too long.
    """
    env = scrubbed_environment(os.environ, own_locale=command.own_locale)
    env.update(command.env)
    try:
        done = subprocess.run(
            command.argv,
            input=command.stdin,
            env=env,
            timeout=command.timeout,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandTimeout(
            f"{command.argv[0]} did not answer within {command.timeout:g} s"
        ) from error
    except OSError as error:
        raise CommandFailed(f"cannot run {command.argv[0]}: {error.strerror}") from error
    return Result(command.argv, done.returncode, done.stdout, done.stderr)
