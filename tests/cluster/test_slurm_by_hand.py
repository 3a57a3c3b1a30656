"""By hand: rendered scripts, submitted by sbatch where there is no Python; hpcorch afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab, table
from tests.helpers import tool, until
from tests.testbed.cluster import Cluster
from tests.testbed.layout import SYSTEM_PATH, address

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

# All that a node needs: bash, what every Linux has, and Slurm's own client for programs.
TOOLS = (
    *("bash", "sh", "env", "cat", "chmod", "cp", "ln", "ls", "mkdir", "mktemp", "mv", "od", "rm"),
    *("sleep", "tail", "uname", "grep", "sed", "getent", "ip", "openssl", "srun", "scancel"),
)
RENDER = ("render", "database", "--scheduler", "slurm", "--nodes", "3")


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


@pytest.fixture
def bare_path(shared_path: Path) -> str:
    """A PATH without Python."""
    folder = shared_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name, path=SYSTEM_PATH)
        assert found, f"{name} is missing"
        (folder / name).symlink_to(os.path.realpath(found))
    return str(folder)


def sbatch(lab: Lab, bare_path: str, script: str) -> str:
    """Submit a script whose job gets a PATH without Python; return the job's id."""
    command = [shutil.which("sbatch") or "sbatch", script]
    done = lab.cluster.run(command, cwd=lab.path, env={"PATH": f"{bare_path}"})
    accepted = re.fullmatch(r"Submitted batch job (\d+)\n", done.stdout)
    assert accepted, done.stdout
    return accepted[1]


def paths_of_jobs(lab: Lab) -> set[str]:
    """The PATH of every batch script that runs."""
    pids = [
        pid
        for node in lab.cluster.nodes
        for pid, words in lab.cluster.node_processes(node)
        if "slurm_script" in words
    ]
    variables = [word for pid in pids for word in environment_of(pid)]
    return {word[5:] for word in variables if word.startswith("PATH=")}


def environment_of(pid: int) -> list[str]:
    """The variables of a process; none of one that has ended, as a script's subshells soon do."""
    try:
        return Path(f"/proc/{pid}/environ").read_text().split("\0")
    except OSError:
        return []


def use_by_shell(lab: Lab, folder: Path, filled: bool = False) -> list[str]:
    """Use a database from node4 with address.env and redis-cli only; it may hold the values."""
    script = f"""
    set -eu
    source {folder}/address.env
    [[ $SR_DB_TYPE == Clustered ]]
    export REDISCLI_AUTH=$(sed -n s/^password=//p "$HPCORCH_CREDENTIALS")
    first=${{SSDB%%,*}}
    cli="redis-cli -c -h ${{first%:*}} -p ${{first#*:}} --user app --no-auth-warning"
    {"" if filled else 'for key in a b c d e f; do $cli SET "$key" "$key$key" >/dev/null; done'}
    for key in a b c d e f; do $cli GET "$key"; done
    """
    return lab.cluster.run(["bash", "-c", script], node="node4").stdout.split()


def test_a_rendered_database_runs_on_nodes_without_python(lab, bare_path):
    assert lab.cluster.run(
        ["bash", "-c", "command -v python3 python hpcorch redis-server || echo none"],
        node="node1",
        env={"PATH": bare_path},
    ).stdout.split() == ["none"]
    folder = lab.path / "orchestrator"
    for again in ([], ["--restore", "orchestrator"]):
        # The second time, what the first has left is still there.
        script = lab.cli(*RENDER, "--time", "01:00:00", "--checkpoint", *again)
        (lab.path / "db.sbatch").write_text(script)
        job = sbatch(lab, bare_path, "db.sbatch")
        until((folder / "address.env").exists, "the address")
        assert paths_of_jobs(lab) == {bare_path}
        assert use_by_shell(lab, folder, bool(again)) == ["aa", "bb", "cc", "dd", "ee", "ff"]
        await_word(lab.path / f"slurm-{job}_0.out", f"to connect: source {folder}/address.env")
        check_verbs(lab, folder, job)
        until(lambda: not lab.jobs(), "the end of all jobs")
        until(lab.nothing_runs, "the end of all processes")


def await_word(log: Path, word: str) -> None:
    """Scripts say that the address is there a moment after it is."""
    until(lambda: word in log.read_text(), word)


def check_verbs(lab: Lab, folder: Path, job: str) -> None:
    """Check status, logs and stop on a database of three shards that runs."""
    shown = lab.cli("status", folder)
    row = table(shown)["orchestrator"]
    assert (row["JobID"], row["Status"]) == (f"{job}_[0-2]", "Running")
    assert "database orchestrator answers at " in shown
    (run,) = json.loads(lab.cli("status", folder, "--json"))["runs"]
    assert (run["scheduler"], run["job"], run["state"]) == ("slurm", job, "Running")
    assert run["database"]["answers"] is True
    assert len(run["database"]["addresses"]) == 3
    assert [task["state"] for task in run["tasks"]] == ["Running"] * 3
    logs = lab.cli("logs", folder, "--shard", "0")
    assert "ready: 10.77.0." in logs
    assert "Cluster state changed: ok" in lab.cli("logs", folder, "--server")
    assert lab.cli("stop", folder) == "orchestrator is Cancelled, exit code 0\n"
    assert lab.cli("stop", folder).startswith("nothing to stop: orchestrator is Cancelled")
    assert not (folder / "address.env").exists()


def test_a_gang_runs_on_nodes_without_python(lab, bare_path):
    lab.cli(*RENDER, "--layout=gang", "--cpus=2", "--run-arg=mpi=none", "-o", "gang.sbatch")
    job = sbatch(lab, bare_path, "gang.sbatch")
    folder = lab.path / "orchestrator"
    until((folder / "address.env").exists, "the address")
    assert use_by_shell(lab, folder) == ["aa", "bb", "cc", "dd", "ee", "ff"]
    row = table(lab.cli("status", folder))["orchestrator"]
    assert (row["JobID"], row["Status"]) == (job, "Running")
    assert lab.cli("stop", folder) == "orchestrator is Cancelled, exit code 0\n"


def test_a_rendered_program_waits_for_a_rendered_database(lab, bare_path):
    lab.cli("render", "database", "--scheduler=slurm", "--identifier=my-db", "-o", "db.sbatch")
    program = ["sh", "-c", "echo $SSDB_my_db"]
    options = ["--scheduler", "slurm", "--use", "my-db", "-o", "sim.sbatch"]
    lab.cli("render", "model", "sim", *options, "--", *program)
    sbatch(lab, bare_path, "sim.sbatch")
    waits = lab.path / "sim/logs/sim.0.out"
    until(lambda: waits.exists() and "waiting for" in waits.read_text(), "the waiting program")
    sbatch(lab, bare_path, "db.sbatch")
    until((lab.path / "sim/exit/0").exists, "the end of the program")
    assert re.search(r"^10\.77\.0\.1\d:6379$", waits.read_text(), re.MULTILINE)
    rows = table(lab.cli("status", "."))
    assert (rows["my-db"]["Status"], rows["sim"]["Status"]) == ("Running", "Completed")
    lab.cli("stop", ".")
    assert table(lab.cli("status", "."))["my-db"]["Status"] == "Cancelled"


def test_a_script_says_how_it_is_submitted(lab):
    words = [tool("hpcorch"), "render", "database", "--scheduler=slurm", "-o", "db.sbatch"]
    said = lab.cluster.run(words, cwd=lab.path).stderr
    assert "to run it: sbatch db.sbatch" in said


def test_a_database_in_an_allocation_by_hand_is_steps_of_it(lab):
    """`bash db.sh` inside salloc; inside an allocation the scheduler slurm means its steps."""
    script = f"""
    set -eu
    {tool("hpcorch")} render database --nodes 3 -o db.sh
    bash db.sh >db.out 2>&1 &
    for i in $(seq 600); do [[ -e orchestrator/address.env ]] && break; sleep 0.1; done
    cat orchestrator/address.env
    {tool("hpcorch")} status orchestrator
    {tool("hpcorch")} stop orchestrator
    wait
    """
    done = lab.cluster.run(["salloc", "-N3", "bash", "-c", script], cwd=lab.path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    addresses = ",".join(f"{address(f'node{number}')}:6379" for number in (1, 2, 3))
    assert f"export SSDB={addresses}\n" in done.stdout
    job = re.search(r"Granted job allocation (\d+)", done.stderr)
    assert job is not None
    row = table(done.stdout)["orchestrator"]
    assert (row["JobID"], row["Status"]) == (f"{job[1]}.0", "Running")
    assert "orchestrator is Cancelled, exit code 0" in done.stdout
