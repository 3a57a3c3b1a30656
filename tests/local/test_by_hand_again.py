"""Scripts that are started by hand once more, in directories that no driver has cleared."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.cli.main import main
from tests.helpers import free_port, kill_together, processes, until

pytestmark = pytest.mark.redis

# Every process id comes back, as in a container.
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
# Runs the script $1, and when its database answers, the words $2; then ends it.
SESSION = """
bash "$1" & job=$!
until [[ -e db/address.env ]]; do kill -0 "$job" || exit 1; sleep 0.05; done
source db/address.env
eval "$2"
kill -TERM "$job"
wait "$job"
"""


def client(call: str) -> str:
    """Return the command of a program that calls this of a client, and prints what it gives."""
    code = f"""
import numpy as np
from hpcorch import Client, ConfigOptions
X = np.arange(3)
print(Client(ConfigOptions.create_from_environment("db")).{call})
"""
    return shlex.join([sys.executable, "-c", code])


def render(*words: object) -> None:
    assert main(["render", *map(str, words)]) == 0


def in_container(where: Path, *words: str) -> str:
    """Run a command in a container of its own, and return what it printed."""
    done = subprocess.run(
        [*CONTAINER, *words], cwd=where, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkpoint_outlives_a_restart_under_the_same_process_id(here):
    words = ["database", "--identifier", "db", "--port", free_port(), "--checkpoint"]
    render(*words, "-o", "first.sh")
    in_container(here, "bash", "-c", SESSION, "_", "first.sh", client('put_tensor("x", X)'))
    render(*words, "--restore", "db", "-o", "again.sh")
    for _ in range(2):
        get = client('get_tensor("x")')
        assert "[0 1 2]" in in_container(here, "bash", "-c", SESSION, "_", "again.sh", get)


def test_an_ensemble_runs_again_under_the_same_process_id(here):
    words = ["ensemble", "many", "--replicas", 3, "-o", "many.sh"]
    render(*words, "--", "bash", "-c", "echo x >>count")
    for count in (1, 2):
        in_container(here, "bash", "many.sh")
        found = [path.read_text().count("x") for path in here.glob("many/many_*/count")]
        assert found == [count] * 3


def test_the_address_of_a_killed_database_is_not_taken_for_that_of_the_next(here, debian_server):
    slow, go, address = here / "redis-server", here / "go", here / "db/address.env"
    wait = f"if [[ $1 == - ]]; then until [[ -e {go} ]]; do sleep 0.05; done; fi"
    slow.write_text(f'#!/bin/bash\n{wait}\nexec {debian_server} "$@"\n')
    slow.chmod(0o755)
    go.touch()
    words = ("--identifier", "db", "--port", free_port(), "--server", slow, "-o", "db.sh")
    render("database", *words)
    with subprocess.Popen(["bash", "db.sh"], stdout=subprocess.DEVNULL):
        until(address.exists, "an answer of the database")
        kill_together(processes(here))
    assert address.exists()
    go.unlink()
    with subprocess.Popen(["bash", "db.sh"], stdout=subprocess.DEVNULL) as job:
        until(lambda: not address.exists(), "the end of the old address")
        go.touch()
        until(address.exists, "an answer of the new database")
        job.send_signal(signal.SIGTERM)
