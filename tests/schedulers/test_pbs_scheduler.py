"""What is said to PBS: directives, calls, and the choice of PBS; and gangs on a stand-in for it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from hpcorch.build import choose_scheduler
from hpcorch.errors import CommandFailed, InputError, SiteError, SubmitAmbiguous
from hpcorch.schedulers.base import (
    JobId,
    JobRef,
    Limits,
    Options,
    QueueLimits,
    Resources,
    Result,
    Submittable,
    TaskState,
)
from hpcorch.schedulers.pbs import PbsScheduler, job_name
from hpcorch.sites import Site, load_site
from tests.golden.test_golden import HERE as GOLDEN
from tests.helpers import DEADLINE, until

PBS = PbsScheduler()
PLAIN = JobRef(JobId("7.head"), "tok", 1)
ARRAY = JobRef(JobId("9[].head"), "tok", 3)


def lines(scheduler: PbsScheduler = PBS, **facts) -> list[str]:
    return list(scheduler.directives(Resources("db", "tok", **facts)))


def places(scheduler: PbsScheduler = PBS, **facts) -> list[str]:
    return [line for line in lines(scheduler, **facts) if "place=" in line]


def test_one_element_is_a_plain_job_and_several_are_an_array():
    assert not [line for line in lines() if line.startswith("-J")]
    assert "-J 0-2" in lines(elements=3)
    assert "-J 0-7%2" in lines(elements=8, max_running=2)


def test_nothing_of_the_environment_is_sent_along():
    every = lines(elements=3, exclusive=True, walltime="1:00:00", queue="q", account="a")
    assert not [line for line in every if line[:2] in ("-v", "-V")]


def test_a_node_of_ones_own_is_asked_for_as_the_site_says():
    host, none = (PbsScheduler(Options(place)) for place in ("exclhost", "none"))
    assert places(exclusive=True) == ["-l place=excl"]
    assert places(exclusive=True, nodes=3) == ["-l place=scatter:excl"]
    assert places(host, exclusive=True, nodes=3) == ["-l place=scatter:exclhost"]
    assert places(none, exclusive=True, nodes=3) == ["-l place=scatter"]
    assert places(none, exclusive=True) == places() == []
    assert places(exclusive=True, extra=(("place", "pack"),)) == ["-l place=pack"]
    with pytest.raises(InputError, match="pbs_place is 'all'"):
        PbsScheduler(Options("all"))


def test_chunks_hold_processes_cpus_and_hosts():
    assert "-l select=1:ncpus=1:mpiprocs=1" in lines()
    asked = lines(nodes=2, tasks_per_node=4, cpus_per_task=2)
    assert "-l select=2:ncpus=8:mpiprocs=4:ompthreads=2" in asked
    named = "-l select=1:ncpus=1:mpiprocs=1:host=a+1:ncpus=1:mpiprocs=1:host=b"
    assert named in lines(nodes=2, hosts=("a", "b"))
    assert "-l select=2:ncpus=64" in lines(nodes=2, extra=(("select", "2:ncpus=64"),))
    with pytest.raises(InputError, match="host_list of db has 3 hosts"):
        lines(nodes=2, hosts=("a", "b", "c"))


def test_what_does_not_go_with_a_select_is_refused():
    own = (("select", "2:ncpus=64"),)
    with pytest.raises(InputError, match=r"host_list of db is \('a', 'b'\): batch_args holds 'sel"):
        lines(nodes=2, hosts=("a", "b"), extra=own)
    with pytest.raises(InputError, match="memory_per_node of db is 500: batch_args holds 'select'"):
        lines(nodes=2, memory=500, extra=own)
    for key in ("nodes", "ncpus", "mem"):
        with pytest.raises(InputError, match=f"batch_args of db holds '{key}': PBS takes it insid"):
            lines(extra=((key, "2"),))


def test_further_options_are_letters_or_resources():
    extra = (("P", "project"), ("filesystems", "home:eagle"), ("debug", None), ("h", None))
    wanted = ["-P project", "-l filesystems=home:eagle", "-l debug=True", "-h"]
    assert lines(extra=extra)[-4:] == wanted


def test_jobs_are_found_by_their_names():
    assert lines()[0] == "-N db_tok"
    assert PBS.find_command("db", "tok").argv == ("qselect", "-N", "db_tok")
    assert job_name("0.db", "tok") == "j0_db_tok"
    assert PBS.parse_find(Result((), 0, "9[].head\n", ""), "tok") == JobId("9[].head")
    assert PBS.parse_find(Result((), 0, "", ""), "tok") is None


@pytest.mark.parametrize(
    ("is_array", "ending"), [(False, "job.tok.log"), (True, "job.tok.^array_index^.log")]
)
def test_messages_of_pbs_are_kept_in_the_run_directory(is_array, ending):
    job = Submittable("db", "tok", "/r/job.pbs", "/r/logs/job.log", is_array)
    argv = PBS.submit_command(job).argv
    assert argv == ("qsub", "-f", "-o", f"/r/logs/{ending}", "/r/job.pbs")


def test_every_call_names_all_jobs_and_has_a_time_limit():
    both = [PLAIN, ARRAY]
    ids = ("7.head", "9[].head")
    history = PBS.history_command(both)
    assert history is not None
    assert PBS.queue_command(both).argv == ("qstat", "-t", "-f", *ids)
    assert history.argv == ("qstat", "-x", "-t", "-f", *ids)
    assert PBS.cancel_command(both, force=False).argv == ("qdel", *ids)
    assert PBS.cancel_command(both, force=True).argv == ("qdel", "-W", "force", *ids)
    commands = [history, PBS.queue_command(both), PBS.find_command("a", "b")]
    assert all(0 < call.timeout <= 120 for call in (*commands, *PBS.limits_commands()))
    assert [PBS.job_label(ref) for ref in both] == ["7.head", "9[0-2].head"]


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [
        ("", "", 1),
        ("", "", -9),
        ("", "qsub: Batch protocol error (errno=15031)\n", 31),
        ("", "qsub: Connection timed out\n", 1),
        ("8.head\n", "qsub: something went wrong\n", 1),
        ("Welcome\n", "", 0),
    ],
)
def test_a_submission_that_broke_off_is_not_taken_for_a_refusal(out, err, code):
    with pytest.raises(SubmitAmbiguous):
        PBS.parse_submit(Result((), code, out, err))


def test_wrappers_may_print_around_the_id():
    told = "*** Welcome to 12.5 ***\n\n9[].pbs01.example.org\nbudget: 3 h left\n"
    assert PBS.parse_submit(Result((), 0, told, "hint\n")) == JobId("9[].pbs01.example.org")


def test_an_array_waits_as_a_whole_and_no_task_of_a_living_one_is_gone():
    def states(out: str) -> list[TaskState]:
        return [item.state for item in PBS.parse_queue(Result((), 0, out, ""), [ARRAY]).values()]

    head = "Job Id: 9[].head\n    job_state = "
    task = "Job Id: 9[1].head\n    job_state = R\n"
    assert states(f"{head}Q\n") == [TaskState.QUEUED] * 3
    assert states(f"{head}B\n{task}") == [TaskState.UNKNOWN, TaskState.RUNNING, TaskState.UNKNOWN]
    assert states(f"{head}F\n") == []


def test_all_tasks_of_a_gang_are_as_their_job_is():
    gang = JobRef(JobId("7.head"), "tok", 3, gang=True)
    answer = Result((), 0, "Job Id: 7.head\n    job_state = R\n", "")
    assert [key[1] for key in PBS.parse_queue(answer, [gang])] == [0, 1, 2]


def test_a_server_that_breaks_off_makes_no_job_disappear():
    told = Result((), 255, "Job Id: 7.head\n    job_state = R\n", "Connection refused\n")
    assert PBS.parse_queue(told, [PLAIN])
    with pytest.raises(CommandFailed, match="Connection refused"):
        PBS.parse_queue(told, [PLAIN, ARRAY])


def test_limits_of_queues():
    server = "Server: s\n    default_queue = a\n    max_array_size = 50\n"
    queues = "Queue: a\n    resources_max.nodect = 4\n    resources_max.walltime = 24:00:00\n"
    queues += "\nQueue: b\n    x = 1\n\nQueue: r\n    queue_type = Route\n"
    # Two vnodes are one host.
    hosts = ("n1", "n1", "n2", "n3")
    nodes = "".join(f"v{host}\n     resources_available.host = {host}\n\n" for host in hosts)
    told = [Result((), 0, text, "") for text in (server, queues, nodes)]
    wanted = {"a": QueueLimits(3, 86400), "b": QueueLimits(3), "r": QueueLimits()}
    assert PBS.parse_limits(told) == Limits(50, wanted, "a")
    told[2] = Result((), 1, nodes, "no permission")
    wanted = {"a": QueueLimits(4, 86400), "b": QueueLimits(), "r": QueueLimits()}
    assert PBS.parse_limits(told) == Limits(50, wanted, "a")
    assert PBS.parse_limits([Result((), 255, "", "down")] * 3) == Limits()


def program(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("echo pbs_version = 23.06.06", "pbs"),
        ("echo 'Version: 6.1.1' >&2", "local"),
        ("echo 'perl: error: no slurm' >&2; exit 1", "local"),
    ],
)
def test_pbs_is_chosen_only_where_qsub_really_is_its_own(tmp_path, body, name):
    program(tmp_path, "qsub", body)
    found, reason = choose_scheduler("auto", Site(), {"PATH": str(tmp_path)})
    assert found.name == name, reason


def test_a_site_says_how_nodes_are_had_and_reached():
    site = load_site({"HPCORCH_PBS_PLACE": "exclhost", "HPCORCH_PBS_STARTER": "ssh", "HOME": "/x"})
    assert (site.pbs_place, site.pbs_starter) == ("exclhost", "ssh")
    found, _ = choose_scheduler("pbs", site, {})
    asked = found.directives(Resources("db", "tok", exclusive=True))
    assert "-l place=exclhost" in asked
    with pytest.raises(SiteError, match="must be one of pbsdsh, pbs_tmrsh"):
        load_site({"HPCORCH_PBS_STARTER": "rsh"})


# Each task says where it is and what it was given, records its end, and one of them ends badly.
BODY = """
folder=$HPCORCH_RUN_DIR/exit
mkdir -p "$folder"
code=0
trap 'code=5' TERM
printf '%s %s %s\\n' "$HPCORCH_INDEX" "$HPCORCH_JOB" "$NODE" >"$folder/../$HPCORCH_INDEX.told"
if [[ -e $HPCORCH_RUN_DIR/wait ]]; then
  while ((code == 0)); do sleep 0.05; done
fi
if ((HPCORCH_INDEX == 2)); then code=${code/0/3}; fi
printf '{"index":1,"job":"%s","code":%d}\\n' "$HPCORCH_JOB" "$code" >"$folder/$HPCORCH_INDEX"
"""
# As recorded: pbsdsh ends with 0, takes a line of the list of nodes, and passes SIGTERM on;
# pbs_tmrsh takes a name.
STARTERS = {
    "pbsdsh": 'mapfile -t n <"$PBS_NODEFILE"; export NODE=${n[$2]}; shift 3; ended="" task="";'
    "trap 'ended=1; ${task:+kill $task}' TERM; \"$@\" & task=$!; ${ended:+kill $task}; "
    "wait; wait; exit 0",
    "pbs_tmrsh": 'h=$1; shift; NODE=$h PATH=/bin:/usr/bin "$@"',
    "ssh": 'NODE=$4 env -u PBS_JOBID -u PBS_NODEFILE bash -c "$5"',
    "mpiexec": 'shift 2; for r in 0 1 2; do PMI_RANK=$r NODE=n$r "$@" & done; wait',
}


def gang(tmp_path: Path, starter: str, *, waits: bool = False) -> subprocess.Popen[str]:
    head = (GOLDEN / "pbs-database-gang.sh").read_text().partition("export HPCORCH_INDEX HPC")[0]
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    if waits:
        (run_dir / "wait").touch()
    head = head.replace("=/scratch/exp/orchestrator", f"={run_dir}")
    script = tmp_path / "7.head.SC"
    script.write_text(head.replace("STARTER=pbsdsh", f"STARTER={starter}") + BODY)
    for name, body in STARTERS.items():
        program(tmp_path, name, body)
    nodes = tmp_path / "nodes"
    nodes.write_text("n0\nn1\nn1\nn2\n")
    env = {"PBS_JOBID": "7.head", "PBS_NODEFILE": str(nodes), "NODE": "n0"}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return subprocess.Popen(["bash", str(script)], env={**env, **path}, text=True)


def told(tmp_path: Path) -> list[str]:
    return sorted(file.read_text() for file in (tmp_path / "run").glob("*.told"))


@pytest.mark.parametrize("starter", STARTERS)
def test_a_gang_runs_once_on_each_node_and_ends_with_the_highest_code(tmp_path, starter):
    running = gang(tmp_path, starter)
    assert running.wait(DEADLINE) == 3
    assert told(tmp_path) == [f"{index} 7.head n{index}\n" for index in range(3)]
    assert not list((tmp_path / "run").glob(".gang.*"))


def test_a_gang_outlives_the_signal_that_ends_its_tasks(tmp_path):
    running = gang(tmp_path, "pbsdsh", waits=True)
    until(lambda: len(told(tmp_path)) == 3, "the words of three tasks")
    # PBS signals all processes of the session; those of other nodes hear it from pbsdsh.
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    for pid in (running.pid, *map(int, children)):
        os.kill(pid, signal.SIGTERM)
    assert running.wait(DEADLINE) == 5
    assert len(list((tmp_path / "run" / "exit").iterdir())) == 3


def test_a_gang_that_has_too_few_nodes_says_so(tmp_path):
    running = gang(tmp_path, "pbsdsh")
    running.kill()
    running.wait()
    (tmp_path / "nodes").write_text("n0\n")
    done = subprocess.run(
        ["bash", str(tmp_path / "7.head.SC")],
        env={"PBS_JOBID": "7.head", "PBS_NODEFILE": str(tmp_path / "nodes"), "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "PBS gave the job 1 node(s) for 3 tasks" in done.stderr


@pytest.mark.parametrize(("started", "generation"), [("9[].head", "1"), ("8[].head", "0")])
def test_a_task_that_pbs_runs_again_knows_it_by_the_mark_of_its_first_life(
    tmp_path, started, generation
):
    head = (GOLDEN / "pbs-database-array.sh").read_text().partition("export HPCORCH_INDEX")[0]
    head = head.replace("=/scratch/exp/orchestrator", f"={tmp_path}")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "1.started").write_text(f"{started}\n")
    done = subprocess.run(
        ["bash", "-c", head + 'echo "$HPCORCH_GENERATION"; pwd'],
        env={"PBS_JOBID": "9[1].head", "PBS_ARRAY_INDEX": "1", "PBS_O_WORKDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [generation, str(tmp_path)]
