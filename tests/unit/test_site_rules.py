"""What a site's profile requires, fills in and forbids: told before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch import Ensemble, Model, Orchestrator
from hpcorch.build import Builder, choose_scheduler
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.errors import InputError, LimitError
from hpcorch.plan import ModelJob
from hpcorch.plan.launch import usual_command
from hpcorch.schedulers.base import Limits, QueueLimits, Scheduler
from hpcorch.schedulers.local import LocalScheduler
from hpcorch.schedulers.pbs import PbsScheduler
from hpcorch.schedulers.pbs_torque import TorqueScheduler
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.sites import Queue, Site, load_site
from hpcorch.submit import Built

QUEUES = {
    "debug": Queue(time="00:10:00", max_time="01:00:00", max_nodes=2),
    "batch": Queue(max_time="1-00:00:00", max_nodes=64, max_array_size=2),
    "shared": Queue(allowed_security=("password", "tls")),
}
ORIGINS = {
    "required": "/etc/site.toml",
    "queues.debug.max_time": "/etc/site.toml",
    "queues.debug.max_nodes": "/etc/site.toml",
    "queues.shared.allowed_security": "/etc/site.toml",
}


def model(
    batch: BatchSettings | None = None,
    site: Site = Site(queues=QUEUES, origins=ORIGINS),  # noqa: B008 - frozen
    scheduler: Scheduler | None = None,
    limits: Limits | None = None,
) -> Built:
    builder = Builder(site, scheduler or SlurmScheduler(), {"PATH": "/bin"})
    described = Model("sim", RunSettings("/bin/true"), batch_settings=batch or BatchSettings())
    return builder.finish(builder.model(described, [], Path("/run/sim")), limits)


def directives(batch: BatchSettings, site: Site, scheduler: Scheduler | None = None) -> str:
    return " ".join(model(batch, site, scheduler).job.directives)


@pytest.mark.parametrize("field", ["account", "queue", "time", "memory_per_node"])
def test_a_field_that_the_site_requires_is_asked_for_by_name(field):
    site = Site(required=(field,), origins=ORIGINS)
    with pytest.raises(InputError) as caught:
        model(BatchSettings(), site)
    assert caught.value.message == (
        f"{field} of sim is missing: this site requires it (/etc/site.toml)"
    )
    option = "set_memory_per_node(" if field == "memory_per_node" else f"or --{field}"
    assert option in caught.value.hint
    given = BatchSettings(time="1:00:00", queue="q", account="a")
    given.set_memory_per_node(1000)
    model(given, site)
    # A workstation has nobody to ask.
    model(BatchSettings(), site, LocalScheduler("/tool"))


def test_what_is_required_may_stand_in_a_profile():
    site = Site(required=("account", "queue", "time"), account="abc", queue="q", time="2:00:00")
    said = directives(BatchSettings(), site)
    assert "--time=2:00:00 --partition=q --account=abc" in said
    own = BatchSettings(time="1:00:00", queue="mine", account="me")
    assert "--time=1:00:00 --partition=mine --account=me" in directives(own, site)
    assert not model(BatchSettings(), site, LocalScheduler("/tool")).job.directives


def test_a_queue_has_a_time_of_its_own_for_jobs_that_say_none():
    site = Site(time="5:00:00", queues=QUEUES)
    assert model(BatchSettings(queue="debug"), site).job.walltime_seconds == 600
    assert model(BatchSettings(queue="batch"), site).job.walltime_seconds == 5 * 3600
    assert model(BatchSettings(queue="debug", time="0:20:00"), site).job.walltime_seconds == 1200


def test_a_database_is_warned_before_a_time_that_comes_from_the_site():
    builder = Builder(Site(time="1:00:00"), SlurmScheduler(), {"PATH": "/bin"})
    job = builder.finish(builder.database(Orchestrator("db"), Path("/run/db"))).job
    assert (job.walltime_seconds, job.resources.warn_seconds) == (3600, 60)


@pytest.mark.parametrize(
    ("batch", "message", "hint"),
    [
        (
            BatchSettings(queue="debgu"),
            "queue of sim is 'debgu': this site has debug, batch, shared",
            "did you mean 'debug'?",
        ),
        (
            BatchSettings(queue="debug", nodes=3),
            "sim needs 3 nodes: the queue debug allows 2 (/etc/site.toml)",
            "accepted in: batch, shared",
        ),
        (
            BatchSettings(queue="debug", time="2-00:00:00"),
            "time of sim is 2-00:00:00: the queue debug allows 01:00:00 (/etc/site.toml)",
            "accepted in: shared",
        ),
    ],
)
def test_a_request_beyond_a_queue_names_the_queue_and_its_limit(batch, message, hint):
    with pytest.raises(LimitError) as caught:
        model(batch)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_cluster_s_default_queue_has_the_site_s_limits_too():
    limits = Limits(None, {"debug": QueueLimits()}, "debug")
    with pytest.raises(LimitError, match="the queue debug allows 2"):
        model(BatchSettings(nodes=3), limits=limits)
    model(BatchSettings(nodes=3))


def test_the_site_s_default_queue_has_its_limits():
    site = Site(queue="debug", queues=QUEUES)
    with pytest.raises(LimitError, match="the queue debug allows 2"):
        model(BatchSettings(nodes=3), site)


def test_a_queue_that_the_cluster_lacks_is_told_with_the_nearest():
    limits = Limits(None, {"regular": QueueLimits(), "debug": QueueLimits()}, "regular")
    with pytest.raises(LimitError) as caught:
        model(BatchSettings(queue="reguler"), Site(), limits=limits)
    assert caught.value.message == "queue of sim is 'reguler': this cluster has regular, debug"
    assert caught.value.hint == "did you mean 'regular'?"


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (Site(allowed_security=("password",)), "this site allows password"),
        (Site(queue="shared", queues=QUEUES), "the queue shared allows password, tls"),
    ],
)
def test_a_security_tier_that_is_not_allowed_is_refused(site, words):
    builder = Builder(site, SlurmScheduler(), {"PATH": "/bin"})
    for tier, allowed in (("open", False), ("password", True)):
        plan = builder.database(Orchestrator("db", security=tier), Path("/run/db"))
        if allowed:
            builder.finish(plan)
            continue
        with pytest.raises(LimitError, match=f"security of db is 'open': {words}"):
            builder.finish(plan)


def test_an_array_larger_than_the_queue_allows_is_several():
    site = Site(queues=QUEUES)
    builder = Builder(site, SlurmScheduler(), {"PATH": "/bin"})
    for queue, sizes in (("batch", [2, 2, 1]), ("debug", [5])):
        ensemble = Ensemble(
            "many",
            replicas=5,
            run_settings=RunSettings("/bin/true"),
            batch_settings=BatchSettings(queue=queue),
        )
        built = builder.finish(builder.ensemble(ensemble, [], Path("/run/many")))
        assert [job.chunk.size for job in built.plan.jobs] == sizes


def test_memory_is_asked_for_in_the_site_s_way():
    batch = BatchSettings()
    batch.set_memory_per_node(1000)
    cpu = Site(memory_style="cpu")
    assert "--mem=1000M" in directives(batch, Site())
    assert "--mem-per-cpu=1000M" in directives(batch, cpu)
    assert "mem=1000mb" in directives(batch, Site(), PbsScheduler())
    assert "-l mem=1000mb" in directives(batch, Site(), TorqueScheduler())
    assert "-l pmem=1000mb" in directives(batch, cpu, TorqueScheduler())
    with pytest.raises(InputError, match="the site's memory_style is 'cpu'"):
        directives(batch, cpu, PbsScheduler())
    with pytest.raises(LimitError, match="memory_per_node of sim is 1000: jobs of this site"):
        directives(batch, Site(memory_style="none"))


def test_memory_for_a_cpu_is_rounded_up_so_that_the_node_s_is_had():
    settings = RunSettings("/bin/true", run_command="srun")
    settings.set_tasks_per_node(3)
    settings.set_cpus_per_task(2)
    settings.set_memory_per_node(1000)
    builder = Builder(Site(memory_style="cpu"), SlurmScheduler(), {"PATH": "/bin"})
    job = builder.finish(builder.model(Model("sim", settings), [], Path("/run/sim"))).job
    assert isinstance(job, ModelJob)
    assert "--mem-per-cpu=167M" in job.directives
    assert not [word for word in job.program if word.startswith("--mem")]


@pytest.mark.parametrize(
    ("scheduler", "asked", "command"),
    [
        ("slurm", "auto", "srun"),
        ("slurm", "mpirun", "mpirun"),
        ("pbs", "aprun", "aprun"),
        ("local", "mpirun", "mpirun"),
        ("local", "srun", "none"),
        ("pbs", "srun", "mpiexec"),
    ],
)
def test_the_site_says_what_starts_many_processes(scheduler, asked, command):
    assert usual_command(scheduler, Site(run_command=asked)) == command


def test_the_modules_of_a_site_are_loaded_by_every_script():
    site = Site(load_modules=("valkey/8", "gcc; reboot"))
    for scheduler in (SlurmScheduler(), PbsScheduler(), LocalScheduler("/tool")):
        text = model(BatchSettings(), site, scheduler).script.text
        call = "\nhpcorch_load_modules valkey/8 'gcc; reboot'\n"
        assert text.index(call) > text.index("\nhpcorch_begin\n")
    assert "hpcorch_load_modules" not in model().script.text


def test_the_site_says_how_often_and_how_long_the_batch_system_is_asked(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("poll_seconds = 40\ncommand_timeout_seconds = 9\n")
    site = load_site({"XDG_CONFIG_HOME": "/nonexistent"}, str(path))
    for launcher in ("slurm", "pbs"):
        scheduler, _ = choose_scheduler(launcher, site, {"PATH": "/bin"})
        assert scheduler.poll_floor == 40
        assert {command.timeout for command in scheduler.limits_commands()} == {9}
