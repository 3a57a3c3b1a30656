"""Numbers and names that planning computes, and what it refuses."""

from __future__ import annotations

import pytest

from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.errors import InputError, LimitError, SecurityError
from hpcorch.plan import DatabaseUse, check_limits, suffix
from hpcorch.schedulers.base import Limits, QueueLimits, Resources
from hpcorch.sites import Site
from tests.helpers import database_job, fake_machine, model_job


def planned(machine=None, site=None, **facts):
    return database_job(Orchestrator(**facts), machine=machine, site=site)


def directives(plan) -> dict[str, tuple[str, ...]]:
    """Later lines win, as they do for a server."""
    return {words[0]: words[1:] for words in (*plan.defaults, *plan.directives)}


def test_planning_twice_gives_the_same_job():
    assert planned(db_nodes=3) == planned(db_nodes=3)


def test_shards_get_ports_node_ids_and_slots():
    job = planned(db_nodes=3, port=7000)
    assert (job.elements, job.first_port, job.port_step) == (3, 7000, 3)
    assert len(set(job.node_ids)) == 3
    assert job.slots == ("0-5460", "5461-10921", "10922-16383")
    assert job.cluster
    assert not planned().cluster


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [("orchestrator", ""), ("", ""), ("x", "_x"), ("a-b", "_a-b"), ("_", "__")],
)
def test_only_the_default_identifier_has_no_suffix(identifier, expected):
    assert suffix(identifier) == expected


@pytest.mark.parametrize(("shards", "tls", "highest"), [(1, True, 65535), (2, False, 55535)])
def test_the_highest_port_leaves_room_for_the_bus(shards, tls, highest):
    machine = fake_machine(tls=tls)
    assert planned(machine, db_nodes=shards, port=highest - shards + 1).last_port == highest
    with pytest.raises(InputError, match="port is"):
        planned(machine, db_nodes=shards, port=highest + 1)


def test_a_bus_with_tls_needs_a_lower_port():
    assert planned(db_nodes=2, port=50534).last_port == 50535
    with pytest.raises(InputError, match="port is 50535: 2 shards need ports up to 50536"):
        planned(db_nodes=2, port=50535)


@pytest.mark.parametrize(
    ("security", "shards", "data", "bus"),
    [
        ("password", 1, False, False),
        ("password", 2, False, True),
        ("tls", 1, True, False),
        ("tls", 2, True, True),
        ("smartredis", 2, False, True),
        ("open", 2, False, False),
    ],
)
def test_where_tls_is_spoken(security, shards, data, bus):
    server = planned(security=security, db_nodes=shards).server
    assert (server.data_tls, server.bus_tls) == (data, bus)


def test_a_loopback_cluster_without_tls_is_warned_about():
    job = planned(fake_machine(tls=False), db_nodes=2)
    assert len(job.warnings) == 1
    assert "without TLS on its bus" in job.warnings[0]
    assert planned(fake_machine(tls=False)).warnings == ()
    assert planned(db_nodes=2).warnings == ()


@pytest.mark.parametrize("interface", ["ib0", ["lo", "ib0"]])
def test_a_network_cluster_without_tls_is_refused_with_the_cure(interface):
    with pytest.raises(SecurityError) as caught:
        planned(fake_machine(tls=False), db_nodes=2, interface=interface)
    assert 'security="open"' in caught.value.hint
    assert planned(fake_machine(tls=False), db_nodes=2, interface="ib0", security="open")
    assert planned(fake_machine(tls=False), db_nodes=1, interface="ib0")


def test_the_site_s_interface_counts_unless_one_is_named():
    site = Site(interface=("ib0",))
    assert planned(site=site).interfaces == ("ib0",)
    assert planned(site=site, interface="lo").interfaces == ("lo",)
    assert planned().interfaces == ("lo",)


def test_smartredis_is_warned_about():
    assert "cannot authenticate" in planned(security="smartredis").warnings[0]


def test_settings_of_the_user_come_after_defaults_and_before_ours():
    described = Orchestrator(maxmemory="1gb")
    for key, value in (("maxclients", "7"), ("loglevel", "debug"), ("maxmemory", "2gb")):
        described.set_db_conf(key, value)
    job = database_job(described)
    found = directives(job.server)
    assert found["maxclients"] == ("7",)
    assert found["maxmemory"] == ("2gb",)
    assert found["loglevel"] == ("debug",)
    assert found["logfile"] == ("",)


@pytest.mark.parametrize("key", ["port", "bind", "dir", "daemonize", "cluster-enabled"])
def test_what_the_job_decides_is_no_setting_of_the_user(key):
    described = Orchestrator("db")
    described.set_db_conf(key, "1")
    with pytest.raises(InputError, match=f"db_conf of db holds '{key}': hpcorch sets it itself"):
        database_job(described)


def test_threads_have_another_name_in_keydb():
    keydb = directives(planned(fake_machine("keydb", tls=False), threads=4).server)
    assert keydb["server-threads"] == ("4",)
    assert "io-threads" not in keydb
    redis = directives(planned(threads=4).server)
    assert redis["io-threads"] == ("4",)
    assert redis["io-threads-do-reads"] == ("yes",)
    assert "io-threads-do-reads" not in directives(planned().server)


def test_launch_commands_take_tasks_and_options():
    settings = RunSettings("p", run_command="mpirun", run_args={"x": None, "map-by": "node"})
    settings.set_nodes(1)
    settings.set_tasks_per_node(4)
    assert words(settings) == ("mpirun", "-n", "4", "-x", "--map-by", "node", "/p")
    assert words(RunSettings("p")) == ("/p",)


def words(settings: RunSettings, scheduler: str = "local") -> tuple[str, ...]:
    return model_job(Model("m", settings), "/r", "/p", scheduler=scheduler).program


def test_slurm_launches_many_processes_with_explicit_resources():
    settings = RunSettings("p", run_args={"mpi": "pmix", "x": "1"})
    settings.set_nodes(2)
    settings.set_tasks_per_node(4)
    settings.set_cpus_per_task(3)
    size = ("--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=3")
    assert words(settings, "slurm") == ("srun", *size, "--mpi=pmix", "-x", "1", "/p")
    assert words(RunSettings("p"), "slurm") == ("/p",)
    with pytest.raises(InputError, match="run_command of m is 'srun': only Slurm has it"):
        words(RunSettings("p", run_command="srun"))


def test_what_only_a_batch_system_can_honour_is_refused_elsewhere():
    batch = BatchSettings(time="01:00:00")
    with pytest.raises(InputError, match="time of orchestrator is '01:00:00': the launcher local"):
        planned(batch_settings=batch)
    job = database_job(Orchestrator(batch_settings=batch), scheduler="slurm")
    assert "--time=01:00:00" in job.directives


def test_limits_name_what_is_too_large():
    limits = Limits(4, {"short": QueueLimits(2, 300)}, "short")
    check_limits(Resources("db", "t", nodes=2, walltime="00:05:00"), limits)
    for wanted, words in (
        (Resources("db", "t", queue="x"), "queue of db is 'x': this cluster has short"),
        (Resources("db", "t", nodes=3), "db needs 3 nodes: the queue short has 2"),
        (Resources("db", "t", walltime="00:05:01"), "the queue short allows 5 minutes"),
    ):
        with pytest.raises(LimitError, match=words):
            check_limits(wanted, limits)


def test_what_no_launch_command_can_do_is_refused():
    many = RunSettings("p")
    many.set_tasks(2)
    with pytest.raises(InputError, match="tasks of m is 2"):
        words(many)
    with pytest.raises(InputError, match="run_args of m is"):
        words(RunSettings("p", run_args={"x": 1}))
    far = RunSettings("p", run_command="mpirun")
    far.set_nodes(2)
    with pytest.raises(InputError, match="nodes of m is 2: this launcher has 1 node"):
        words(far)


def test_a_colocated_database_must_not_hide_another_one():
    model = Model("m", RunSettings("p"))
    model.colocate_db_tcp(db_identifier="x")
    uses = (DatabaseUse("/x", "_x"),)
    with pytest.raises(InputError, match="db_identifier of the database colocated with m is 'x'"):
        model_job(model, "/r", "/p", databases=uses, machine=fake_machine())
    other = (DatabaseUse("/y", "_y"),)
    assert model_job(model, "/r", "/p", databases=other, machine=fake_machine()).databases == other


@pytest.mark.parametrize(
    ("facts", "threads"),
    [
        ({}, "1"),
        ({"db_cpus": 3}, "3"),
        ({"custom_pinning": [0, 2, 4]}, "3"),
        ({"custom_pinning": [0, 2, 4], "db_cpus": 2}, "2"),
        ({"custom_pinning": [], "db_cpus": 2}, "2"),
        ({"custom_pinning": []}, "1"),
    ],
)
def test_a_colocated_server_has_as_many_threads_as_cpus_or_fewer(facts, threads):
    model = Model("m", RunSettings("p"))
    model.colocate_db_uds(**facts)
    plan = model_job(model, "/r", "/p", machine=fake_machine()).server
    assert plan is not None
    assert directives(plan)["io-threads"] == (threads,)


@pytest.mark.parametrize("permissions", [0o750, 750])
def test_the_socket_s_mode_is_octal_also_in_smartsim_s_writing(permissions):
    model = Model("m", RunSettings("p"))
    model.colocate_db_uds(socket_permissions=permissions)
    colocation = model_job(model, "/r", "/p", machine=fake_machine()).colocation
    assert colocation is not None
    assert colocation.socket_mode == "750"


def on_slurm(prepare, **facts):
    database = Orchestrator(**facts)
    prepare(database)
    return database_job(database, scheduler="slurm")


def test_cpus_of_shards_are_asked_for_and_told_to_the_steps_of_a_gang():
    array = on_slurm(lambda it: it.set_cpus(4), db_nodes=3)
    assert "--cpus-per-task=4" in array.directives
    gang = on_slurm(lambda it: it.set_cpus(4), db_nodes=3, layout="gang")
    assert "--cpus-per-task=4" in gang.directives
    assert gang.run_args == ("--cpus-per-task=4",)


def test_run_args_reach_the_srun_of_a_gang_and_are_refused_without_one():
    def prepare(database):
        database.set_run_arg("--mpi", "none")
        database.set_run_arg("quiet")

    gang = on_slurm(prepare, db_nodes=2, layout="gang")
    assert gang.run_args == ("--mpi=none", "--quiet")
    with pytest.raises(InputError, match="run_args of orchestrator holds 'mpi': no srun starts"):
        on_slurm(prepare, db_nodes=2)
    with pytest.raises(InputError, match="holds 'nodes': hpcorch sets it itself"):
        on_slurm(lambda it: it.set_run_arg("nodes", "3"), db_nodes=2, layout="gang")


@pytest.mark.parametrize(
    ("walltime", "plain", "saving"),
    [("", 0, 0), ("00:04:00", 0, 0), ("00:05:00", 60, 60), ("01:00:00", 60, 360)],
)
def test_what_has_to_save_is_warned_earlier(walltime, plain, saving):
    for checkpoint, seconds in ((False, plain), (True, saving)):
        job = database_job(
            Orchestrator(checkpoint=checkpoint, batch_settings=BatchSettings(time=walltime)),
            scheduler="slurm",
        )
        assert job.resources.warn_seconds == seconds


def test_what_is_saved_and_when_is_the_last_word_on_it():
    database = Orchestrator()
    database.set_db_conf("save", "900 1")
    database.enable_checkpoints(60)
    lines = [words for words in database_job(database).server.directives if words[0] == "save"]
    assert lines[-1] == ("save", "60", "1")


@pytest.mark.parametrize(
    ("facts", "scheduler", "refusal"),
    [
        ({"batch": True}, "slurm", None),
        ({"batch": True}, "local", "batch of db is True: the launcher local has no jobs"),
        ({"batch": True}, "slurm-steps", "batch of db is True: the launcher slurm-steps starts"),
        ({"batch": False}, "local", None),
        ({"batch": False}, "slurm-steps", None),
        ({"batch": False}, "pbs", "batch of db is False: outside a job the launcher pbs"),
        ({"run_command": "srun"}, "slurm", None),
        ({"run_command": "pbsdsh"}, "pbs", None),
        ({"run_command": "mpirun"}, "slurm", "'mpirun': on the launcher slurm it must be auto or"),
        ({"run_command": "srun"}, "local", "'srun': on the launcher local it must be auto$"),
    ],
)
def test_smartsim_s_words_are_honoured_or_refused(facts, scheduler, refusal):
    database = Orchestrator("db", 3, **facts)
    if refusal is None:
        assert database_job(database, scheduler=scheduler).elements == 3
        return
    with pytest.raises(InputError, match=refusal):
        database_job(database, scheduler=scheduler)


def test_single_cmd_chooses_the_layout():
    assert Orchestrator(single_cmd=True).layout == "gang"
    assert Orchestrator(single_cmd=False).layout == "array"
    with pytest.raises(InputError, match="single_cmd is False"):
        Orchestrator(single_cmd=False, layout="gang")
