"""Programs on Slurm: one process or many, variables, ends, databases beside them, requests."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab, table
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

AWKWARD = {
    "COMMA": "a,b,,c=d",
    "SPACES": "  two  spaces ",
    "QUOTES": """it's "quoted" `date`""",
    "LINES": "first\nsecond\n",
    "DOLLAR": "$HOME ${PATH} $(id) \\$x \\",
    "LETTERS": "žluť 漢字",
    "EMPTY": "",
    "GLOB": "* ? [a-z] ~ # ! &|;<>%j",
}


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def shown_job(lab: Lab, job: str) -> dict[str, str]:
    """What Slurm says about a job, by its own words."""
    text = lab.cluster.run(["scontrol", "-o", "show", "job", job]).stdout
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def test_a_program_of_one_process_is_a_batch_job_on_a_node(lab):
    code = """
    model = exp.create_model("one", exp.create_run_settings("hostname"))
    exp.start(model)
    tell(out=output(model), summary=exp.summary())
    """
    found = lab.driver(code)
    assert found["out"].strip() in lab.cluster.nodes
    row = table(found["summary"])["one"]
    assert (row["Status"], row["Returncode"]) == ("Completed", "0")
    shown = shown_job(lab, row["JobID"])
    assert (shown["JobName"], shown["NumNodes"], shown["NumTasks"]) == ("one", "1", "1")


def test_a_program_of_several_nodes_is_launched_by_srun_as_it_was_described(lab):
    code = """
    settings = exp.create_run_settings("sh", ["-c", 'echo "$(hostname) $SLURM_CPUS_PER_TASK"'])
    settings.set_nodes(2)
    settings.set_tasks_per_node(2)
    settings.set_cpus_per_task(2)
    model = exp.create_model("four", settings)
    exp.start(model)
    tell(out=output(model), summary=exp.summary())
    """
    found = lab.driver(code)
    lines = [line.split() for line in found["out"].splitlines()]
    nodes = Counter(node for node, _ in lines)
    assert set(nodes) < set(lab.cluster.nodes)
    assert list(nodes.values()) == [2, 2]
    assert {cpus for _, cpus in lines} == {"2"}
    shown = shown_job(lab, table(found["summary"])["four"]["JobID"])
    asked = [shown[key] for key in ("NumNodes", "NumTasks", "CPUs/Task", "NumCPUs")]
    assert asked == ["2", "4", "2", "8"]


@pytest.mark.parametrize("name", ["back\\slash", "%j it's \\%A [0-9]=*"])
def test_a_run_directory_may_have_any_name(lab, name):
    code = f"""
    where = os.path.abspath({name!r})
    settings = exp.create_run_settings("hostname")
    model = exp.create_model("m", settings, path=where + "/m")
    several = exp.create_ensemble("e", run_settings=settings, replicas=2, path=where + "/e")
    exp.start(model, several)
    tell(states=[str(state) for state in exp.get_status(model, several)])
    """
    assert lab.driver(code)["states"] == ["Completed"] * 3
    for entity in ("m", "e"):
        assert list((lab.path / name / entity / "logs").glob("job.*.log"))


@pytest.mark.redis
def test_programs_run_as_steps_of_an_allocation_beside_a_database(lab):
    code = """
    exp.start(exp.create_database(db_nodes=3))
    settings = exp.create_run_settings("hostname")
    settings.set_nodes(2)
    settings.set_tasks_per_node(2)
    models = [exp.create_model("many", settings)]
    models.append(exp.create_model("one", exp.create_run_settings("hostname")))
    exp.start(*models)
    tell(many=output(models[0]).split(), one=output(models[1]).split(), summary=exp.summary())
    exp.stop()
    """
    found = lab.driver(code, inside=["salloc", "-N3", "--ntasks-per-node=2"])
    assert sorted(Counter(found["many"]).values()) == [2, 2]
    assert set(found["one"]) < set(lab.cluster.nodes)
    rows = table(found["summary"])
    assert {name: row["Status"] for name, row in rows.items()} == {
        "orchestrator": "Running",
        "many": "Completed",
        "one": "Completed",
    }
    job = re.search(r"Granted job allocation (\d+)", found.text)
    assert job is not None
    ids = sorted(row["JobID"] for row in rows.values())
    assert ids == [f"{job[1]}.{step}" for step in (0, 1, 2)]


MPI = """
settings = exp.create_run_settings("bash", ["-c", sys.argv[1]], run_command="mpirun",
    env_vars={"GREETING": "it's me"})
settings.set_nodes(3)
settings.set_tasks_per_node(2)
model = exp.create_model("mpi", settings)
exp.start(model)
tell(out=output(model), err=output(model, "err"), summary=exp.summary())
"""
# Open MPI does not run as root unless it is told twice.
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def test_mpirun_starts_a_program_on_all_nodes_of_its_job(lab):
    """Its processes get the variables, and the code of the one that fails is the program's.

    mpirun ends all others at the first failure: that one waits until everyone's line has come.
    """
    words = """
    echo "$(hostname) $OMPI_COMM_WORLD_RANK/$OMPI_COMM_WORLD_SIZE $GREETING"
    [[ $OMPI_COMM_WORLD_RANK == 5 ]] || exit 0
    for ((i = 0; i < 400; i++)); do
        mapfile -t lines <mpi.out
        ((${#lines[@]} < 6)) || exit 7
        sleep 0.1
    done
    """
    found = lab.driver(MPI, words, env=AS_ROOT)
    lines = [line.split(" ", 2) for line in found["out"].splitlines()]
    assert list(Counter(node for node, _, _ in lines).values()) == [2, 2, 2], found["err"]
    assert sorted(rank for _, rank, _ in lines) == [f"{rank}/6" for rank in range(6)]
    assert {greeting for _, _, greeting in lines} == {"it's me"}
    row = table(found["summary"])["mpi"]
    assert (row["Status"], row["Returncode"]) == ("Failed", "7")


def test_a_missing_launch_command_is_named(lab):
    code = """
    settings = exp.create_run_settings("hostname", run_command="aprun")
    settings.set_tasks(2)
    model = exp.create_model("mpi", settings)
    try:
        exp.start(model)
        tell(status=str(exp.get_status(model)[0]), summary=exp.summary())
        tell(reason=(Path(exp.exp_path) / "mpi/exit/0").read_text())
    except HpcorchError as error:
        tell(status="refused", reason=str(error))
    """
    found = lab.driver(code)
    assert found["status"] in ("refused", "Failed")
    assert "aprun" in found["reason"]


@pytest.mark.parametrize("tasks", [1, 2])
def test_variables_and_arguments_reach_a_program_byte_for_byte(lab, tasks):
    program = """
    import json, os, sys
    names = sys.argv[1].split("+")
    print(json.dumps([{name: os.environ[name] for name in names}, sys.argv[2:]]), flush=True)
    """
    code = """
    wanted, program = json.loads(sys.argv[1]), sys.argv[2]
    names = "+".join(wanted)
    model = python_model("words", program, names, *wanted.values(), env_vars=wanted)
    model.run_settings.set_tasks(int(sys.argv[3]))
    exp.start(model)
    tell(out=output(model), err=output(model, "err"))
    """
    program = "\n".join(line.strip() for line in program.splitlines())
    found = lab.driver(code, json.dumps(AWKWARD), program, tasks)
    lines = found["out"].splitlines()
    assert len(lines) == tasks, found["err"]
    for line in lines:
        assert json.loads(line) == [AWKWARD, list(AWKWARD.values())]


def test_the_end_of_a_program_is_told_as_it_was(lab):
    code = """
    def shell(name, script, tasks=1):
        model = exp.create_model(name, exp.create_run_settings("bash", ["-c", script]))
        model.run_settings.set_tasks(tasks)
        return model

    models = [
        shell("good", "true"),
        shell("three", "exit 3"),
        shell("three_by_srun", "exit 3", 2),
        shell("killed", "kill -KILL $$"),
        shell("killed_by_srun", "kill -KILL $$", 2),
        exp.create_model("missing", exp.create_run_settings("no-such-program")),
    ]
    exp.start(*models)
    tell(summary=exp.summary())
    """
    rows = table(lab.driver(code)["summary"])
    ends = {name: (row["Status"], row["Returncode"]) for name, row in rows.items()}
    assert ends == {
        "good": ("Completed", "0"),
        "three": ("Failed", "3"),
        "three_by_srun": ("Failed", "3"),
        "killed": ("Failed", "137"),
        "killed_by_srun": ("Failed", "137"),
        "missing": ("Failed", "127"),
    }


def left_on_nodes(lab: Lab) -> set[tuple[str, str]]:
    """Return what servers and programs have left in each node's own /tmp."""
    words = ["sh", "-c", "ls -d /tmp/hpcorch.* 2>/dev/null || true"]
    return {
        (node, path)
        for node in lab.cluster.nodes
        for path in lab.cluster.run(words, node=node).stdout.split()
    }


@pytest.mark.redis
def test_databases_beside_programs_in_batch_jobs(lab):
    program = """
import os, numpy as np
from hpcorch import Client, ConfigOptions
client = Client(ConfigOptions.create_from_environment("mine"))
client.put_tensor("x", np.arange(3))
print(os.environ["SSDB_mine"].partition(":")[0], client.get_tensor("x").sum(), flush=True)
"""
    code = """
    tcp, uds = (python_model(name, sys.argv[1]) for name in ("tcp", "uds"))
    tcp.colocate_db_tcp(db_identifier="mine", custom_pinning=[])
    uds.colocate_db_uds(db_identifier="mine", custom_pinning=[])
    exp.start(tcp, uds)
    tell(out=[output(model).split() for model in (tcp, uds)], summary=exp.summary())
    """
    # What a job was killed over, another test's, may be there already.
    before = left_on_nodes(lab)
    found = lab.driver(code, program)
    assert found["out"] == [["127.0.0.1", "3"], ["unix", "3"]]
    assert {row["Status"] for row in table(found["summary"]).values()} == {"Completed"}
    until(lab.nothing_runs, "the end of all processes")
    assert left_on_nodes(lab) <= before


def test_what_is_asked_for_reaches_slurm(lab):
    code = """
    batch = exp.create_batch_settings(
        nodes=2, time="00:04:00", queue="short", account="climate",
        batch_args={"nice": 7, "exclusive": None},
    )
    batch.set_hostlist(["node2", "node3"])
    settings = exp.create_run_settings("true")
    model = exp.create_model("asks", settings, batch_settings=batch)
    database = exp.create_database(time="1-00:10:00", account="ocean", queue="debug")
    database.set_batch_arg("nice", "9")
    exp.start(model, database, wait=False)
    tell(summary=exp.summary())
    """
    rows = table(lab.driver(code)["summary"])
    shown = shown_job(lab, rows["asks"]["JobID"])
    keys = ("NumNodes", "TimeLimit", "Partition", "Account", "Nice", "OverSubscribe", "ReqNodeList")
    # While a job is pending, a number of nodes is shown as a range.
    wanted = ["2", "00:04:00", "short", "climate", "7", "NO", "node[2-3]"]
    assert [shown[key].removeprefix("2-") for key in keys] == wanted
    shown = shown_job(lab, rows["orchestrator"]["JobID"])
    wanted = ["1", "1-00:10:00", "debug", "ocean", "9", "NO"]
    assert [shown["NumNodes"][:1], *(shown[key] for key in keys[1:6])] == wanted


def test_a_comment_of_the_user_does_not_hide_a_job_from_hpcorch(lab):
    """The token in the comment is how a submission that broke off is found again."""
    code = """
    batch = exp.create_batch_settings(batch_args={"comment": "my own"})
    model = exp.create_model("mine", exp.create_run_settings("true"), batch_settings=batch)
    exp.start(model)
    """
    lab.driver(code)
    shown = lab.cluster.run(["squeue", "-h", "-t", "all", "-n", "mine", "-o", "%k"]).stdout
    assert "hpcorch:" in shown


def test_what_is_too_large_is_refused_before_anything_is_submitted() -> None:
    code = """
    def refusal(name, *, db_nodes=None, **batch):
        if db_nodes:
            asked = exp.create_database(db_identifier=name, db_nodes=db_nodes, **batch)
        else:
            settings = exp.create_run_settings("true")
            asked = exp.create_model(
                name, settings, batch_settings=exp.create_batch_settings(**batch)
            )
        good = exp.create_model(f"before_{name}", exp.create_run_settings("true"))
        try:
            exp.start(good, asked)
        except HpcorchError as error:
            return [type(error).__name__, error.message]

    tell(
        nodes=refusal("wide", nodes=3),
        gang=refusal("gang", db_nodes=3, layout="gang"),
        time=refusal("long", time="00:06:00", queue="short"),
        queue=refusal("lost", queue="gpu"),
    )
    """
    with Cluster(nodes=2) as cluster:
        lab = Lab(cluster, cluster.shared)
        found = lab.driver(code)
        assert lab.jobs("-t", "all") == []
    assert found.values == {
        "nodes": ["LimitError", "wide needs 3 nodes: the queue debug has 2"],
        "gang": ["LimitError", "gang needs 3 nodes: the queue debug has 2"],
        "time": ["LimitError", "time of long is 00:06:00: the queue short allows 5 minutes"],
        "queue": ["LimitError", "queue of lost is 'gpu': this cluster has debug, short"],
    }
