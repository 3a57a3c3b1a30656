"""Torque: what is said to it and read from it, and its scripts under the qsub of a live Slurm."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from hpcorch.build import choose_scheduler
from hpcorch.errors import CommandFailed, InputError, ParseError, SubmitAmbiguous
from hpcorch.schedulers.base import JobId, JobRef, Resources, Result, Submittable
from hpcorch.schedulers.pbs_torque import TorqueScheduler
from hpcorch.sites import load_site
from tests.cluster.conftest import (  # noqa: F401  fixtures are found by their names here
    cluster,
    left_as_found,
    shared_path,
    used_clusters,
)
from tests.cluster.scenarios import Lab
from tests.helpers import until

TORQUE = TorqueScheduler()
PLAIN = JobRef(JobId("7.srv"), "tok", 1)
ARRAY = JobRef(JobId("9[].srv"), "tok", 3)


def lines(**facts) -> list[str]:
    return list(TORQUE.directives(Resources("db", "tok", **facts)))


def test_requests_are_in_its_own_words():
    assert lines(elements=3, max_running=2, exclusive=True) == [
        "-N db_tok",
        "-t 0-2%2",
        "-l nodes=1:ppn=1",
        "-j oe",
        "-S /bin/bash",
    ]
    asked = lines(nodes=2, tasks_per_node=4, cpus_per_task=2, walltime="1-01:00:00", queue="q")
    assert {"-l nodes=2:ppn=8", "-l walltime=25:00:00", "-q q"} <= set(asked)
    assert "-l nodes=a:ppn=1+b:ppn=1" in lines(nodes=2, hosts=("a", "b"))
    assert "-l nodes=4:gpus=2" in lines(extra=(("nodes", "4:gpus=2"),))
    assert "-l naccesspolicy=singlejob" in lines(extra=(("naccesspolicy", "singlejob"),))
    with pytest.raises(InputError, match="host_list of db has 1 hosts"):
        lines(nodes=2, hosts=("a",))
    with pytest.raises(InputError, match=r"host_list of db is .*: batch_args holds 'nodes'"):
        lines(hosts=("a",), extra=(("nodes", "4:gpus=2"),))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("walltime", "2:00:00"), "batch_args of .* holds 'walltime': the job asks for '1:00:00'"),
        (("q", "b"), "batch_args of .* holds 'q': the job asks for 'a' there already"),
        (("t", "0-4"), "batch_args holds 't': hpcorch sets it itself"),
    ],
)
def test_what_is_asked_for_twice_is_refused(extra, message):
    with pytest.raises(InputError, match=message):
        lines(walltime="1:00:00", queue="a", extra=(extra,))
    assert "-q a" in lines(queue="a", extra=(("q", "a"),))


def test_calls_name_what_it_knows():
    assert TORQUE.submit_command(Submittable("db", "tok", "/r/j", "/r/job.log", True)).argv == (
        *("qsub", "-o", "/r/job.tok.log", "/r/j"),
    )
    assert TORQUE.queue_command([PLAIN]).argv == ("qstat", "-f", "7.srv")
    assert TORQUE.queue_command([PLAIN, ARRAY]).argv == ("qstat", "-t", "-f", "7.srv", "9[].srv")
    assert TORQUE.history_command([PLAIN]) is None
    assert TORQUE.cancel_command([PLAIN], force=True).argv == ("qdel", "7.srv")


@pytest.mark.parametrize("text", ["7.srv", "9[].srv.example.org", "12"])
def test_ids_may_lack_their_server(text):
    assert TORQUE.parse_submit(Result((), 0, f"hello\n{text}\n", "")) == JobId(text)


def test_a_refusal_may_stand_on_standard_output():
    told = Result((), 1, "sbatch: error: Invalid partition name specified\n", "")
    with pytest.raises(CommandFailed, match="Invalid partition name"):
        TORQUE.parse_submit(told)
    with pytest.raises(SubmitAmbiguous):
        TORQUE.parse_submit(Result((), 0, "", ""))


def states(out: str, err: str = "", code: int = 0, *refs: JobRef) -> list[str]:
    report = TORQUE.parse_queue(Result((), code, out, err), refs or (PLAIN,))
    return [f"{key[1]} {status.state} {status.code}" for key, status in report.items()]


def test_what_has_ended_is_shown_for_a_while_and_then_unknown():
    def told(facts: str) -> str:
        return f"Job Id: 7.srv\n    Job_Name = x\n{facts}"

    assert states(told("    job_state = R\n")) == ["0 Running None"]
    assert states(told("    job_state = C\n    exit_status = 0\n")) == ["0 Completed 0"]
    assert states(told("    job_state = C\n    exit_status = 271\n")) == ["0 Failed 143"]
    # Slurm's own qstat tells no code.
    assert states("Job Id:\t7.srv\n\tjob_state = C\n") == []
    assert states("", "qstat: Unknown Job Id Error 7.srv\n", 153) == []
    with pytest.raises(ParseError, match=r"says nothing of the job 7\.srv"):
        states("", "", 153)


def test_tasks_of_an_array_have_records_of_their_own():
    out = "".join(
        f"Job Id: 9[{index}].srv\n    job_state = {state}\n\n" for index, state in enumerate("RQH")
    )
    assert states(out, "", 0, ARRAY) == ["0 Running None", "1 Queued None", "2 Queued None"]


def test_the_site_says_that_the_dialect_is_spoken():
    site = load_site({"HPCORCH_PBS_DIALECT": "torque", "HOME": "/x"})
    assert choose_scheduler("pbs", site, {})[0].name == "torque"
    assert choose_scheduler("pbs", load_site({"HOME": "/x"}), {})[0].name == "pbs"


@pytest.mark.cluster
@pytest.mark.redis
def test_scripts_run_under_the_qsub_of_slurm(cluster, shared_path: Path):  # noqa: F811
    """A database as an array and a program, rendered in the dialect and submitted by hand."""
    lab = Lab(cluster, shared_path)
    qsub = shutil.which("qsub", path="/usr/bin") or "qsub"
    assert (
        choose_scheduler("auto", load_site({"HOME": "/x"}), {"PATH": "/usr/bin"})[0].name != "pbs"
    )
    where = ("--scheduler", "torque", "--path", "lab/orchestrator", "--nodes", 2)
    (shared_path / "db.pbs").write_text(lab.cli("render", "database", *where))
    (shared_path / "lab").mkdir(mode=0o700)
    job = cluster.run([qsub, "db.pbs"], cwd=shared_path).stdout.strip()
    lab.await_database()
    program = """
import numpy as np
from hpcorch import Client, ConfigOptions
client = Client(ConfigOptions.create_from_environment(""))
client.put_tensor("x", np.arange(5))
print(client.get_tensor("x").sum())
"""
    use = ("--use", "lab/orchestrator", "--path", "lab/sim")
    words = ("render", "model", "sim", "--scheduler", "torque", *use, "--", sys.executable, "-c")
    (shared_path / "sim.pbs").write_text(lab.cli(*words, program))
    cluster.run([qsub, "sim.pbs"], cwd=shared_path)
    until((lab / "sim/exit/0").exists, "the end of the program")
    assert (lab / "sim/logs/sim.0.out").read_text().splitlines()[-1] == "10"
    runs = json.loads(lab.cli("status", "lab", "--json"))["runs"]
    found = {run["entity"]: run for run in runs}
    assert (found["orchestrator"]["job"], found["orchestrator"]["state"]) == (job, "Running")
    assert (found["sim"]["state"], found["sim"]["code"]) == ("Completed", 0)
    assert "orchestrator is Cancelled, exit code 0" in lab.cli("stop", "lab")
    until(lambda: not lab.jobs(), "an empty queue")
