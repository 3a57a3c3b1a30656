"""What is asked of a launch: every field in each command's words, or refused by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpcorch import Container, Model, Orchestrator, RunSettings, Singularity
from hpcorch.build import mpi_library
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError, InputTypeError
from hpcorch.plan import DatabaseUse, plan_model
from tests.helpers import database_job, fake_machine, model_job, target

EVERY = {
    "host_list": lambda it: it.set_hostlist("n1,n2"),
    "host_file": lambda it: it.set_hostlist_from_file("/h"),
    "excluded_hosts": lambda it: it.set_excluded_hosts(["n3", "n4"]),
    "node_feature": lambda it: it.set_node_feature(["knl", "quad"]),
    "memory_per_node": lambda it: it.set_memory_per_node(512),
    "walltime": lambda it: it.set_time(hours=26, seconds=1),
    "task_map": lambda it: it.set_task_map("block:cyclic"),
    "cpu_bindings": lambda it: it.set_cpu_bindings([0, 2]),
    "verbose": lambda it: it.set_verbose_launch(True),
    "quiet": lambda it: it.set_quiet_launch(True),
    "broadcast": lambda it: it.set_broadcast(),
}
# By run command, library and field, the words after those of the size; what is absent is refused.
WORDS = {
    ("srun", ""): {
        "host_list": "--nodelist=n1,n2",
        "host_file": "--nodefile=/h",
        "excluded_hosts": "--exclude=n3,n4",
        "node_feature": "--constraint=knl&quad",
        "memory_per_node": "--mem=512M",
        "walltime": "--time=26:00:01",
        "task_map": "--distribution=block:cyclic",
        "cpu_bindings": "--cpu-bind=map_cpu:0,2",
        "verbose": "--verbose",
        "quiet": "--quiet",
        "broadcast": "--bcast",
    },
    ("mpirun", ""): {
        "host_list": "--host n1:1,n2:1",
        "host_file": "--hostfile /h",
        "walltime": "--timeout 93601",
        "task_map": "--map-by block:cyclic",
        "verbose": "--verbose",
        "quiet": "--quiet",
        "broadcast": "--preload-binary",
    },
    ("mpiexec", ""): {
        "host_list": "-hosts n1,n2",
        "host_file": "-f /h",
        "task_map": "-map-by block:cyclic",
        "cpu_bindings": "-bind-to user:0,2",
        "verbose": "-verbose",
    },
    ("mpiexec", "pals"): {
        "host_list": "--hosts n1,n2",
        "host_file": "--hostfile /h",
        "cpu_bindings": "--cpu-bind list:0:2",
        "verbose": "--verbose",
        "broadcast": "--transfer",
    },
    ("aprun", ""): {
        "host_list": "-L n1,n2",
        "host_file": "-l /h",
        "excluded_hosts": "-E n3,n4",
        "walltime": "-t 93601",
        "cpu_bindings": "-cc 0,2",
        "quiet": "-q",
    },
    ("none", ""): {},
}
SIZE = {"srun": 3, "none": 1}
JOB_FIELDS = {"host_list", "excluded_hosts", "node_feature", "memory_per_node", "walltime"}


def planned(settings, scheduler="local", mpi="", colocated=False, **more):
    aim = replace(target("/r", scheduler), mpi=mpi)
    programs = [f"/bin/{item.exe}" for item in settings.mpmd]
    model = Model("m", settings, **more)
    if colocated:
        model.colocate_db_uds()
    return plan_model(model, "/p", (), fake_machine(), aim, programs)


@pytest.mark.parametrize(("command", "mpi"), WORDS)
@pytest.mark.parametrize("field", EVERY)
def test_a_field_is_in_the_command_s_words_or_is_refused(command, mpi, field):
    settings = RunSettings("p", run_command=command)
    EVERY[field](settings)
    scheduler = "slurm-steps" if command == "srun" else "local"
    if field not in WORDS[command, mpi]:
        with pytest.raises(InputError, match=f"^{field} of m is ") as caught:
            planned(settings, scheduler, mpi)
        assert command in str(caught.value) or command == "none"
        return
    words = planned(settings, scheduler, mpi).program
    expected = WORDS[command, mpi][field].split()
    assert list(words[SIZE.get(command, 3) :][: len(expected)]) == expected
    assert words[-1] == "/p"


@pytest.mark.parametrize("field", sorted(JOB_FIELDS))
def test_a_batch_job_sees_to_what_it_can_and_the_rest_is_left_to_the_launch(field):
    settings = RunSettings("p", run_command="srun")
    EVERY[field](settings)
    option = WORDS["srun", ""][field]
    job = planned(settings, "slurm")
    assert option in unquoted(job)
    # The two hosts that are named are two nodes.
    size = 2 if field == "host_list" else 1
    assert job.program == ("srun", f"--nodes={size}", f"--ntasks={size}", "/p")
    # The batch settings win for the job; the launch gets the program's own.
    batch = BatchSettings()
    for name, made in EVERY.items():
        if name in JOB_FIELDS:
            made(batch)
    batch.set_hostlist("other")
    batch.set_excluded_hosts("other")
    batch.set_node_feature("other")
    batch.set_memory_per_node(1)
    batch.set_walltime("00:10:00")
    job = planned(settings, "slurm", batch_settings=batch)
    assert option not in unquoted(job)
    assert option in job.program


@pytest.mark.parametrize("scheduler", ["slurm", "slurm-steps", "pbs", "torque"])
def test_hosts_that_are_named_are_the_nodes_when_nobody_says_how_many(scheduler):
    settings = RunSettings("p", run_command="srun" if "slurm" in scheduler else "mpiexec")
    settings.set_hostlist(["n1", "n2"])
    settings.set_tasks_per_node(3)
    job = planned(settings, scheduler)
    assert (job.resources.nodes, job.resources.tasks_per_node) == (2, 3)
    assert {"-n 6", "--ntasks=6"} & {*job.program, " ".join(job.program[1:3])}
    settings.set_nodes(1)
    with pytest.raises(InputError, match="host_list of m has 2 hosts: nodes is 1"):
        planned(settings, scheduler)


def unquoted(job):
    return [option.replace('"', "") for option in job.directives]


def test_batch_settings_become_directives():
    batch = BatchSettings(nodes=2)
    batch.set_time(hours=26)
    batch.set_partition("gpu")
    batch.set_exclusive()
    job = planned(RunSettings("p"), "slurm", batch_settings=batch)
    assert {"--time=26:00:00", "--partition=gpu", "--exclusive", "--nodes=2"} <= set(job.directives)
    batch.set_memory_per_node(100)
    words = planned(RunSettings("p"), "pbs", batch_settings=batch).directives
    assert "-l select=2:ncpus=1:mpiprocs=1:mem=100mb" in words
    assert "-l walltime=26:00:00" in words
    assert "-l place=scatter:excl" in words
    database = database_job(Orchestrator(db_nodes=2, batch_settings=batch), scheduler="slurm")
    assert "--mem=100M" in database.directives


@pytest.mark.parametrize("field", ["excluded_hosts", "node_feature"])
def test_pbs_refuses_what_it_has_no_words_for(field):
    settings = RunSettings("p")
    EVERY[field](settings)
    with pytest.raises(InputError, match=f"^{field} of m is .*PBS cannot be asked for it"):
        planned(settings, "pbs")


def test_the_local_launcher_refuses_what_only_a_batch_system_has():
    batch = BatchSettings()
    batch.set_exclusive()
    with pytest.raises(InputError, match="exclusive of m is True: the launcher local has no batch"):
        planned(RunSettings("p"), batch_settings=batch)


@pytest.mark.parametrize(
    ("command", "mpi", "expected"),
    [
        ("mpirun", "", "mpirun -n 8 --map-by ppr:4:node:PE=2"),
        ("mpiexec", "openmpi", "mpiexec -n 8 --map-by ppr:4:node:PE=2"),
        ("mpiexec", "", "mpiexec -n 8 -ppn 4"),
        ("mpiexec", "pals", "mpiexec -n 8 --ppn 4 --depth 2"),
        ("auto", "pals", "mpiexec -n 8 --ppn 4 --depth 2"),
        ("aprun", "", "aprun -n 8 -N 4 -d 2"),
    ],
)
def test_several_nodes_get_their_processes(command, mpi, expected):
    settings = RunSettings("p", run_command=command)
    settings.set_nodes(2)
    settings.set_tasks_per_node(4)
    settings.set_cpus_per_task(2)
    assert planned(settings, "pbs", mpi).program == (*expected.split(), "/p")


def test_a_launch_may_use_some_of_a_job_s_nodes_but_not_more():
    settings = RunSettings("p")
    settings.set_nodes(2)
    settings.set_tasks(4)
    job = planned(settings, "slurm", batch_settings=BatchSettings(nodes=4))
    assert {"--nodes=4", "--ntasks-per-node=2"} <= set(job.directives)
    assert job.program == ("srun", "--nodes=2", "--ntasks=4", "/p")
    with pytest.raises(InputError, match="nodes of m is 2: its batch settings ask for 1"):
        planned(settings, "slurm", batch_settings=BatchSettings(nodes=1))


def test_a_place_for_the_broadcast_is_srun_s_only():
    settings = RunSettings("p", run_command="srun")
    settings.set_broadcast("/tmp/p")
    assert "--bcast=/tmp/p" in planned(settings, "slurm").program
    settings.run_command = "mpirun"
    with pytest.raises(InputError, match="broadcast of m is '/tmp/p': mpirun chooses the place"):
        planned(settings)


@pytest.mark.parametrize(("command", "key"), [("srun", "ntasks"), ("mpirun", "np"), ("aprun", "N")])
def test_options_that_are_not_the_user_s_are_refused(command, key):
    settings = RunSettings("p", run_command=command, run_args={key: "4"})
    with pytest.raises(InputError, match=f"run_args of m holds '{key}'"):
        planned(settings, "slurm")


def test_an_argument_that_ends_a_program_is_refused():
    with pytest.raises(InputError, match="exe_args of m holds ':': mpirun would start what"):
        planned(RunSettings("p", ["a", ":", "b"], run_command="mpirun"))
    assert planned(RunSettings("p", ["a", ":", "b"])).program == ("/p", "a", ":", "b")


def several(command):
    first = RunSettings("a", ["1", "x y"], run_command=command)
    first.set_tasks(2)
    second = RunSettings("b", ["z"], env_vars={"V": "1 2"})
    second.set_tasks(3)
    first.make_mpmd(second)
    first.make_mpmd(RunSettings("c"))
    return first


def test_several_programs_stand_in_one_launch_of_mpirun():
    settings = several("mpirun")
    settings.mpmd[1].set("bind-to", "none")
    words = planned(settings).program
    assert words == (
        *("mpirun", "-n", "2", "/p", "1", "x y"),
        *(":", "-n", "3", "env", "--", "V=1 2", "/bin/b", "z"),
        *(":", "-n", "1", "--bind-to", "none", "/bin/c"),
    )


def test_a_further_program_s_path_is_no_variable_to_env():
    settings = RunSettings("a", run_command="mpirun")
    settings.make_mpmd(RunSettings("x=1/b", env_vars={"V": 1}))
    settings.make_mpmd(RunSettings("x=1/c"))
    assert planned(settings).program[4:] == (
        *(":", "-n", "1", "env", "--", "V=1", "nice", "-n", "0", "/bin/x=1/b"),
        *(":", "-n", "1", "/bin/x=1/c"),
    )


def test_several_programs_are_one_step_of_srun():
    job = planned(several("srun"), "slurm")
    assert "--ntasks-per-node=6" in job.directives
    assert job.program[:3] == ("srun", "--nodes=1", "--ntasks=6")
    assert job.program[7:] == (
        *("2", "3", "/p", "1", "x y"),
        *("3", "5", "env", "--", "V=1 2", "/bin/b", "z"),
        *("1", "1", "/bin/c"),
    )


def test_what_several_programs_cannot_have_is_refused():
    first = RunSettings("a")
    other = RunSettings("b")
    other.set_nodes(2)
    with pytest.raises(InputError, match="nodes is set for 'b'"):
        first.make_mpmd(other)
    with pytest.raises(InputError, match="'a' has further programs itself"):
        first.make_mpmd(first)
    with pytest.raises(InputError, match="container is set"):
        first.make_mpmd(RunSettings("b", container=Container("i")))
    with pytest.raises(InputError, match="run_command of 'b' is 'srun': the launch is by 'auto'"):
        first.make_mpmd(RunSettings("b", run_command="srun"))
    with pytest.raises(InputTypeError, match="settings is a str"):
        first.make_mpmd("b")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tasks of m is 6: without a launch command"):
        planned(several("auto"))
    odd = several("srun")
    odd.mpmd[0].set("mpi", "pmix")
    with pytest.raises(InputError, match=r"run_args of 'b' is .*: srun starts all programs of m"):
        planned(odd, "slurm")


def test_a_container_stands_between_the_launch_and_the_program():
    image = Container("i.sif", ["--cleanenv"], {"/data": "/d", "/x": "/y:ro"}, "/d")
    settings = RunSettings("p", ["a"], run_command="mpirun", container=image)
    settings.set_tasks(2)
    words = "mpirun -n 2 apptainer exec --cleanenv --bind /data:/d --bind /x:/y:ro --pwd /d i.sif"
    job = planned(settings)
    assert job.program == (*words.split(), "/p", "a")
    assert job.container is not None
    assert (job.container.prefix, job.container.mounts) == ("APPTAINER", ("/r",))
    plain = RunSettings("p", container=Singularity("i", "--nv -C", "/a"))
    assert " ".join(planned(plain).program) == "singularity exec --nv -C --bind /a i /p"


def test_beside_a_database_the_launch_command_is_told_from_what_it_starts():
    """There a process of ours comes between the two."""
    image = Container("i.sif")
    contained = RunSettings("p", run_command="mpirun", container=image)
    contained.set_tasks(2)
    stepped = RunSettings("p")
    stepped.set_tasks(2)
    for settings, scheduler, words in (
        (contained, "local", ("apptainer", "exec", "i.sif", "/p")),
        (several("srun"), "slurm", planned(several("srun"), "slurm").program[3:]),
        (stepped, "slurm-steps", ("/p",)),
        (RunSettings("p"), "slurm-steps", ("/p",)),
    ):
        job = planned(settings, scheduler, colocated=True)
        assert job.program[job.launcher_words :] == words
        assert job.program == planned(settings, scheduler).program


def test_what_cannot_be_had_beside_a_database_is_refused():
    with pytest.raises(InputError, match="run_command of m is 'mpirun': beside a colocated data"):
        planned(several("mpirun"), colocated=True)
    settings = RunSettings("p", run_command="srun")
    settings.set_broadcast("/tmp/p")
    with pytest.raises(InputError, match="broadcast of m is '/tmp/p': beside a colocated data"):
        planned(settings, "slurm", colocated=True)


def test_a_directory_that_no_container_can_be_given_is_refused():
    model = Model("m", RunSettings("p", container=Container("i")))
    with pytest.raises(InputError, match="container of m is 'i': /a,b cannot be mounted in it"):
        model_job(model, "/r", "/p", databases=(DatabaseUse("/a,b", ""),))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Container("-i"), "image is '-i'"),
        (lambda: Container("i", runtime="docker"), "runtime is 'docker'"),
        (lambda: Container("i", mount=["a\nb"]), "mount is 'a"),
        (lambda: RunSettings("p", container="i"), "container is a str"),  # type: ignore[arg-type]
        (lambda: RunSettings("p").set_time(), "seconds is 0"),
        (lambda: RunSettings("p").set_time(-1), "hours is -1"),
        (lambda: RunSettings("p").set_hostlist([]), r"host_list is \[\]"),
        (lambda: RunSettings("p").set_hostlist("a,,b"), "host_list is ''"),
        (lambda: RunSettings("p").set_cpu_bindings([-1]), r"cpu_bindings\[0\] is -1"),
        (lambda: RunSettings("p").set_cpu_bindings("0"), "cpu_bindings is '0'"),  # type: ignore[arg-type]
        (lambda: RunSettings("p").set_memory_per_node(0), "memory_per_node is 0"),
        (lambda: RunSettings("p").set_node_feature("a b"), "node_feature is 'a b'"),
        (lambda: BatchSettings().add_preamble(5), "preamble is 5"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_value_is_refused_by_its_name(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize(
    ("said", "library"),
    [
        ("mpirun (Open MPI) 4.1.4\n", "openmpi"),
        ("mpiexec (OpenRTE) 4.1.4\n", "openmpi"),
        ("HYDRA build details:\n    Version: 4.0.2\n", "hydra"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.8\n", "hydra"),
        ("PALS version 1.2.12\n", "pals"),
        ("slurm-wlm 22.05.8\n", ""),
    ],
)
def test_launch_commands_say_whose_they_are(said, library):
    assert mpi_library(said) == library


def test_only_open_mpi_is_told_to_carry_variables_and_in_one_way():
    settings = RunSettings("p", run_command="mpirun")
    settings.set_tasks(2)
    assert planned(settings).forward_environment
    assert not planned(settings, mpi="hydra").forward_environment
    assert not planned(RunSettings("p")).forward_environment
    settings.set("x", "A")
    assert not planned(settings).forward_environment
