"""What tests of programs with many processes share: real launchers, and programs in bash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcorch import Experiment, Model
from tests.helpers import tool

# The program behind each launch command; both are called mpiexec and mpirun on some machines.
LAUNCHERS = {"mpirun": "mpirun.openmpi", "mpiexec": "mpiexec.hydra"}
# What lets Open MPI start more processes than there are CPUs.
CROWDED: dict[str, str | None] = {"oversubscribe": None}

# Functions for programs: ask the server beside them, and meet the other processes there.
ASK = """
ask() {
  case $SSDB in
    unix://*) redis-cli -s "${SSDB#unix://}" --raw "$@" ;;
    *) redis-cli -h "${SSDB%:*}" -p "${SSDB##*:}" --raw "$@" ;;
  esac
}
server_info() { ask INFO server | tr -d '\\r' | sed -n "s/^$1://p"; }
# meet COUNT NAME: returns when COUNT processes have called it.
meet() {
  if (($(ask INCR "came-$2") == $1)); then
    ask RPUSH "gate-$2" go >/dev/null
  else
    # Whoever goes through holds the gate open for the next one.
    [[ $(ask BLMOVE "gate-$2" "gate-$2" LEFT RIGHT 60) == go ]]
  fi
}
"""
# All processes meet in their server, look at it, and leave together.
MEET_AND_TELL = """
meet "$1" start || exit 9
echo "$SSDB $(server_info run_id) $(ask GET came-start)"
meet "$1" end || exit 9
"""

# Prints the CPUs of this process and of the server's threads, as JSON.
TELL_CPUS = """
cpus() { sed -n 's/^Cpus_allowed_list:\\t//p' "$@" | sort -u | paste -sd ' '; }
meet "$1" start
server=$(server_info process_id)
printf '{"me":"%s","server":"%s","threads":%d,"pid":%d,"address":"%s","omp":"%s"}\\n' \\
  "$(cpus /proc/self/status)" "$(cpus /proc/"$server"/task/*/status)" \\
  "$(ask CONFIG GET io-threads | tail -n 1)" "$server" "$SSDB" "${OMP_NUM_THREADS-unset}"
meet "$1" end
"""


def one_server(said: str, count: int) -> bool:
    """Whether `count` processes said the same of their server, and all of them have met there."""
    lines = said.splitlines()
    return len(lines) == count and len(set(lines)) == 1 and lines[0].endswith(f" {count}")


def launcher_environment(folder: Path) -> dict[str, str]:
    """Put Open MPI's mpirun and MPICH's mpiexec into a folder; what makes programs find these."""
    folder.mkdir()
    for name, program in LAUNCHERS.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {tool(program)} "$@"\n')
        script.chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


def use_launchers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these first on PATH, whichever else is installed."""
    for name, value in launcher_environment(folder).items():
        monkeypatch.setenv(name, value)


def use_simple_mpirun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an mpirun on PATH that never ends the other processes when one has failed.

    Process i starts DELAYS[i] seconds late; it ends with the highest exit code.
    """
    folder.mkdir()
    script = folder / "mpirun"
    script.write_text(
        """#!/bin/bash
count=$2; shift 2; code=0; pids=()
read -r -a delays <<<"${DELAYS-}"
for ((i = 0; i < count; i++)); do
  (sleep "${delays[i]:-0}"; export OMPI_COMM_WORLD_LOCAL_SIZE=$count OMPI_COMM_WORLD_LOCAL_RANK=$i
   exec "$@") &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; ended=$?; ((ended > code)) && code=$ended; done
exit "$code"
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def ranks_model(
    exp: Experiment, name: str, launcher: str, count: int, code: str, args: Sequence[str] = ()
) -> Model:
    """Describe a program of `count` processes that run bash code; `ask` and `meet` are there.

    `launcher` is mpirun, mpiexec, none, or simple, the mpirun of use_simple_mpirun.
    """
    settings = exp.create_run_settings(
        "/bin/bash",
        ["-c", ASK + code, "_", *args],
        "mpirun" if launcher == "simple" else launcher,
        CROWDED if launcher == "mpirun" else {},
    )
    settings.set_tasks(count)
    return exp.create_model(name, settings)


def colocate(model: Model, transport: str, port: int = 6379, **options: object) -> None:
    """Put an open database beside the model, which redis-cli can talk to without a password."""
    if transport == "tcp":
        model.colocate_db_tcp(port=port, security="open", **options)  # type: ignore[arg-type]
    else:
        model.colocate_db_uds(security="open", **options)  # type: ignore[arg-type]
