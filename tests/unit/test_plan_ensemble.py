"""Ensembles as jobs: rows of a table, groups that ask for the same, chunks that arrays may hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcorch import Model, Orchestrator, RunSettings
from hpcorch.build import Builder
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError
from hpcorch.paths import templates_dir
from hpcorch.plan import DatabaseJob, DatabaseUse, chunked, plan_ensemble, plan_model
from hpcorch.schedulers.base import JobId, JobRef, Limits
from hpcorch.sites import Site
from tests.helpers import TOKEN, database_job, fake_machine, target

UGLY = (
    "",
    "two words",
    "tab\there",
    "a\nb\r",
    "back\\slash\\t",
    "$(id) `id` $HOME",
    "ü目",
    "%s'\"",
)


def plan(ensemble, scheduler="slurm", only=None, run_dir="/x/ens", databases=()):
    return plan_ensemble(
        ensemble,
        lambda model: [f"/opt/{model.run_settings.exe}"],
        databases,
        lambda model: None if model.colocation is None else fake_machine(),
        target(run_dir, scheduler),
        only,
    )


def members(count, **facts):
    return Ensemble("ens", run_settings=RunSettings("p", **facts), replicas=count)


def options(job, name):
    return [line for line in job.directives if line.lstrip("-").startswith(name)]


def test_members_that_ask_for_the_same_are_one_array():
    found = plan(members(200))
    (job,) = found.jobs
    assert options(job, "array") == ["--array=0-199"]
    assert options(job, "job-name") == ["--job-name=ens"]
    assert (job.elements, job.kind, found.indices, found.again) == (200, "ensemble", (), False)
    assert found.names == tuple(f"ens_{number}" for number in range(200))


def test_members_with_different_resources_are_few_arrays_and_keep_their_numbers():
    ensemble = members(5)
    for number in (1, 3):
        ensemble[number].run_settings.set_nodes(2)
    ensemble[4].colocate_db_tcp()
    found = plan(ensemble)
    assert [job.resources.nodes for job in found.jobs] == [1, 2, 1]
    assert [job.server is None for job in found.jobs] == [True, True, False]
    assert found.indices == (0, 2, 1, 3, 4)
    jobs = chunked(found.jobs, target("/x", "slurm").scheduler, None)
    assert [(job.chunk.offset, job.chunk.size, job.chunk.parts) for job in jobs] == [
        (0, 2, 3),
        (2, 2, 3),
        (4, 1, 3),
    ]
    assert [options(job, "array") for job in jobs] == [["--array=0-1"], ["--array=0-1"], []]


@pytest.mark.parametrize(
    ("tasks", "sizes"), [(4, [4]), (5, [3, 2]), (9, [3, 3, 3]), (10, [4, 3, 3])]
)
def test_an_array_is_never_larger_than_allowed(tasks, sizes):
    ensemble = members(tasks)
    ensemble.max_running = 6
    jobs = chunked(plan(ensemble).jobs, target("/x", "slurm").scheduler, 4)
    assert [job.chunk.size for job in jobs] == sizes
    assert [job.chunk.offset for job in jobs] == [sum(sizes[:part]) for part in range(len(sizes))]
    assert [job.elements for job in jobs] == [tasks] * len(sizes)
    limit = 6 // len(sizes)
    assert [options(job, "array") for job in jobs] == [
        [f"--array=0-{size - 1}%{limit}"] for size in sizes
    ]
    tokens = [job.resources.token for job in jobs]
    assert tokens == ([TOKEN] if len(sizes) == 1 else [f"{TOKEN}_{n}" for n in range(len(sizes))])
    assert [options(job, "comment") for job in jobs] == [
        [f"--comment=hpcorch:{token}"] for token in tokens
    ]


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_a_database_is_cut_too_but_never_a_gang(scheduler):
    used = target("/x", scheduler).scheduler
    whole = database_job(Orchestrator(db_nodes=5), scheduler=scheduler)
    jobs = chunked([whole], used, 3)
    assert [(job.chunk.offset, job.resources.elements) for job in jobs] == [(0, 3), (3, 2)]
    assert all(isinstance(job, DatabaseJob) and job.node_ids == whole.node_ids for job in jobs)
    gang = database_job(Orchestrator(db_nodes=5, layout="gang"), scheduler=scheduler)
    assert [job.chunk.size for job in chunked([gang], used, 3)] == [5]


def test_a_lone_last_task_is_a_plain_job_on_pbs():
    jobs = chunked(plan(members(3), "pbs").jobs, target("/x", "pbs").scheduler, 2)
    assert [options(job, "J") for job in jobs] == [["-J 0-1"], []]


def test_only_some_members_are_planned_and_keep_their_numbers():
    found = plan(members(2500), only={3, 77, 2001})
    assert found.indices == (3, 77, 2001)
    assert found.again
    assert options(found.jobs[0], "array") == ["--array=0-2"]
    assert [line.split("\t")[1] for line in found.table[0].splitlines()] == [
        "ens_3",
        "ens_77",
        "ens_2001",
    ]
    assert [len(text.splitlines()) for text in plan(members(2500)).table] == [1000, 1000, 500]


def test_an_empty_ensemble_is_refused():
    with pytest.raises(InputError, match="ensemble ens has no members"):
        plan(Ensemble("ens", batch_settings=BatchSettings()))


def test_a_row_reaches_bash_byte_for_byte(tmp_path):
    settings = RunSettings("p", list(UGLY), env_vars={"U": "".join(UGLY), "E": ""})
    ensemble = Ensemble("ens", {"x": list(UGLY)}, run_settings=settings)
    ensemble.add_model(Model("given", settings, path="/else where"))
    found = plan(ensemble, run_dir=tmp_path)
    (tmp_path / "task-table").mkdir()
    for number, text in enumerate(found.table):
        (tmp_path / "task-table" / f"{number}.tsv").write_text(text)
    script = """
    . "$1/lib/task.sh"
    HPCORCH_RUN_DIR=$2 HPCORCH_NAME=ens HPCORCH_TABLE_ROWS=1000
    hpcorch_read_task "$3"
    printf '%s\\0' "$HPCORCH_INDEX" "${HPCORCH_TASK[@]}"
    """
    for row, name, where in ((0, "ens_0", f"{tmp_path}/ens_0"), (8, "given", "/else where")):
        argv = ["bash", "-euc", script, "_", str(templates_dir()), str(tmp_path), str(row)]
        done = subprocess.run(argv, capture_output=True, check=True)
        words = done.stdout.decode().split("\0")[:-1]
        assert words[:3] == [str(row), str(row), name]
        assert words[3:5] == [where, "-"]
        params, rest = words[6 : 6 + 2 * int(words[5])], words[6 + 2 * int(words[5]) :]
        assert params == (["x", UGLY[row]] if name == "ens_0" else [])
        count = int(rest[0])
        assert rest[count - 1 : count + 1] == [f"U={''.join(UGLY)}", "E="]
        assert rest[count + 1 :] == ["/opt/p", *UGLY]


def test_programs_are_told_under_which_names_keys_are():
    reader = Model("r", RunSettings("p", env_vars={"SSKEYIN": "mine"}))
    reader.register_incoming_entity(members(2))
    job = plan_model(reader, "/p", [DatabaseUse("/db", "")], None, target("/x"))
    assert job.program_env == ("SSKEYIN=ens_0,ens_1", "SSKEYIN=mine")
    reader.enable_key_prefixing()
    assert "SSKEYOUT=r" in plan_model(reader, "/p", [], None, target("/x")).program_env
    assert "\tSSKEYOUT=ens_1\t" in plan(members(2)).table[0]
    wide = Model("w", RunSettings("p"))
    wide.register_incoming_entity(members(20_000))
    with pytest.raises(InputError, match="the incoming entities of w have names of"):
        plan_model(wide, "/p", [], None, target("/x"))


def test_in_an_allocation_members_are_steps_that_share_nodes():
    (job,) = plan(members(3), "slurm-steps").jobs
    row = plan(members(3), "slurm-steps").table[0].splitlines()[0].split("\t")
    assert not job.gang
    assert job.max_running == 64
    assert row[7:10] == ["srun", "--nodes=1", "--ntasks=1"]
    assert "--exact" in row


def test_the_throttle_is_the_array_s_own_or_the_launcher_s():
    ensemble = members(9)
    ensemble.max_running = 2
    assert options(plan(ensemble).jobs[0], "array") == ["--array=0-8%2"]
    assert options(plan(ensemble, "pbs").jobs[0], "J") == ["-J 0-8%2"]
    assert plan(ensemble, "local").jobs[0].max_running == 2


def test_batch_settings_are_those_of_the_ensemble_unless_a_member_has_its_own():
    ensemble = Ensemble(
        "ens",
        run_settings=RunSettings("p"),
        replicas=2,
        batch_settings=BatchSettings(time="01:00:00"),
    )
    ensemble.add_model(Model("own", RunSettings("p"), batch_settings=BatchSettings(queue="q")))
    jobs = plan(ensemble).jobs
    assert [(job.resources.walltime, job.resources.queue) for job in jobs] == [
        ("01:00:00", ""),
        ("", "q"),
    ]


def test_nodes_of_the_batch_settings_are_each_member_s_and_that_is_said():
    def described(replicas):
        batch = BatchSettings(nodes=3)
        return Ensemble("ens", None, batch, RunSettings("p"), replicas)

    (job,) = plan(described(2)).jobs
    assert job.resources.nodes == 3
    assert job.warnings == (
        "nodes in batch_settings of ens is 3: each of its 2 members gets as many nodes",
    )
    assert plan(described(1)).jobs[0].warnings == ()


def test_some_tasks_of_an_array_are_named_as_their_scheduler_names_them():
    words = {
        "slurm": ("7", ["7_[0-2,5]", "8_4", "9"]),
        "pbs": ("7[].s", ["7[0-2].s", "7[5].s", "8[4].s", "9.s"]),
        "local": ("7", ["7:t:0,1,2,5", "8:t:4", "9:t"]),
    }
    for name, (first, expected) in words.items():
        scheduler = target("/x", name).scheduler
        refs = [
            JobRef(JobId(first), "t", 9, only=(0, 1, 2, 5)),
            JobRef(JobId(first.replace("7", "8")), "t", 9, only=(4,)),
            JobRef(JobId(first.replace("7", "9").replace("[]", "")), "t", 1),
        ]
        for force in (False, True):
            argv = scheduler.cancel_command(refs, force=force).argv
            assert list(argv[-len(expected) :]) == expected
    labels = [scheduler.job_label(ref) for ref in refs]
    assert labels == ["7_0-2,5", "8_4", "9"]


def test_a_site_may_say_how_large_arrays_are():
    def built(scheduler):
        builder = Builder(
            Site(max_array_size=3), target("/x", scheduler).scheduler, {"PATH": "/bin"}
        )
        return builder.finish(builder.ensemble(members(7), [], Path("/x/ens")), Limits(5))

    assert [job.chunk.size for job in built("slurm").plan.jobs] == [3, 2, 2]
    assert len(built("slurm").scripts) == 3


def test_members_that_bring_the_same_models_are_one_array():
    use = DatabaseUse("/x/db", "")
    ensemble = members(4)
    ensemble.add_ml_model("m", "ONNX", b"x")
    (job,) = plan(ensemble, databases=[use]).jobs
    (model, listed) = job.files
    assert job.workers.models == f"/x/ens/{listed.path}"
    ensemble[2].add_script("s", "def f(x): return x")
    several = plan(ensemble, databases=[use])
    assert several.indices == (0, 1, 3, 2)
    assert several.jobs[0].files == (model, listed)
    assert not {file.path for file in several.jobs[1].files} & {model.path, listed.path}
