"""Scripts as they are sent, byte for byte; bash and shellcheck accept each of them."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from hpcorch.describe.container import Container
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.describe.workers import Workers
from hpcorch.plan import DatabaseUse, Job, NodeFiles, chunked, plan_ensemble, suffix
from hpcorch.render import Script
from hpcorch.sites import Queue, Site
from tests.helpers import TOKEN, database_job, fake_machine, model_job, target, tool
from tests.helpers import render as render_for

HERE = Path(__file__).parent
# SC2317 and SC2329 are wrong about functions that only traps call; SC2016 is about arguments of
# users that look like expansions and must not be any.
ALLOWED = "SC2317,SC2329,SC2016"
UGLY = ("", "two words", "it's", '"quoted"', "$(id) `id` $HOME", "-n", "back\\slash", "a\nb", "ü目")


def database(
    *, tls=True, flavour="redis", conf="", settings=None, scheduler="local", **facts
) -> Job:
    described = Orchestrator(port=6379, **facts)
    for key, value in (settings or {}).items():
        described.set_db_conf(key, value)
    machine = fake_machine(flavour, tls=tls, conf=conf)
    return database_job(described, f"/scratch/exp/{described.name}", machine, scheduler)


def model(
    name: str, settings: RunSettings, *uses: str, prepare=None, scheduler: str = "local"
) -> Job:
    described = Model(name, settings)
    if prepare is not None:
        prepare(described)
    return model_job(
        described,
        f"/scratch/exp/{name}",
        "/opt/app/program",
        databases=tuple(DatabaseUse(f"/scratch/exp/{use}", suffix(use)) for use in uses),
        machine=fake_machine(),
        scheduler=scheduler,
    )


def with_workers(model: Model) -> None:
    model.colocate_db_uds(db_cpus=2, workers=2)
    model.add_ml_model("m", "TORCH", b"x")


def ensemble(
    *uses: str, scheduler: str = "local", prepare=None, count: int = 20, files: bool = False
) -> Job:
    """The last job of an ensemble, as it is sent where an array may have eight tasks."""
    described = Ensemble("ens", {"x": list(range(count))}, run_settings=RunSettings("program"))
    for model in described if prepare is not None else ():
        prepare(model)
    where = target("/scratch/exp/ens", scheduler)
    plan = plan_ensemble(
        described,
        lambda _: ["/opt/app/program"],
        [DatabaseUse(f"/scratch/exp/{use}", suffix(use)) for use in uses],
        lambda _: fake_machine(),
        where,
        files=(lambda _: NodeFiles("")) if files else None,
    )
    return chunked(plan.jobs, where.scheduler, 8 if where.scheduler.is_batch else None)[-1]


def on_slurm() -> BatchSettings:
    return BatchSettings(time="12:00:00", queue="debug", account="a1", batch_args={"qos": "x y"})


def at_a_site() -> Job:
    """A program that says nothing itself, on a site that says all that it can."""
    queues = {"gpu": Queue(time="0:30:00", max_time="2:00:00")}
    modules = ("valkey/8.0", "it's")
    return model_job(
        Model("sim", many_with_memory()),
        "/scratch/exp/sim",
        "/opt/app/program",
        scheduler="slurm",
        site=Site(
            account="a1", queue="gpu", memory_style="cpu", load_modules=modules, queues=queues
        ),
    )


def many_with_memory() -> RunSettings:
    settings = many()
    settings.set_memory_per_node(64000)
    return settings


def on_mpi() -> RunSettings:
    settings = many()
    settings.run_args = {"bind-to": "core"}
    return settings


def many() -> RunSettings:
    settings = RunSettings("program", ["in put"], run_args={"mpi": "pmix"})
    settings.set_nodes(2)
    settings.set_tasks_per_node(4)
    settings.set_cpus_per_task(2)
    return settings


def contained() -> RunSettings:
    image = Container("/opt/my image.sif", "--nv", {"/data": "/in side"})
    settings = RunSettings("program", run_command="mpirun", container=image)
    settings.set_tasks(2)
    settings.set_mpmd_preamble(["module load it's", 'export A="$B"'])
    return settings


def several() -> RunSettings:
    settings = RunSettings("program", ["it's"])
    settings.make_mpmd(RunSettings("other", ["$x"], env_vars={"V": "1 2"}))
    return settings


CASES: dict[str, Callable[[], Job]] = {
    "database-1": database,
    "database-2": lambda: database(db_nodes=2),
    "database-3": lambda: database(db_nodes=3),
    "database-3-without-tls": lambda: database(db_nodes=3, tls=False),
    "database-tls": lambda: database(db_nodes=3, security="tls"),
    "database-smartredis": lambda: database(security="smartredis"),
    "database-open": lambda: database(db_nodes=2, security="open", db_identifier="a-b.c"),
    "database-keydb": lambda: database(flavour="keydb", tls=False, threads=4),
    "database-valkey-threads": lambda: database(flavour="valkey", threads=4, maxmemory="3gb"),
    "database-user-conf": lambda: database(
        conf="/home/user/my own.conf", settings={"save": "900 1", "maxmemory-policy": 'a"b'}
    ),
    "database-modules": lambda: database(
        module_paths=["/opt/redisai.so", "/opt/with space/it's.so"], interface=["ib0", "lo"]
    ),
    "database-workers": lambda: database(
        db_nodes=3, workers=Workers(2, cpus=[1, range(4, 6)], threads=2, max_request="10mb")
    ),
    "model-workers": lambda: model("app", RunSettings("program"), prepare=with_workers),
    "model-attachments": lambda: model(
        "app",
        RunSettings("program"),
        "near-by",
        prepare=lambda it: it.add_ml_model("m", "ONNX", b"x"),
    ),
    "model-plain": lambda: model("app", RunSettings("program", ["--steps", "10"])),
    "model-databases": lambda: model("app", RunSettings("program"), "orchestrator", "a-b", "c"),
    "model-launched": lambda: model("app", launched()),
    "model-colocated-tcp": lambda: model(
        "app", RunSettings("program"), prepare=lambda it: it.colocate_db_tcp(port=7000)
    ),
    "model-colocated-uds": lambda: model(
        "app",
        RunSettings("program"),
        "near-by",
        prepare=lambda it: it.colocate_db_uds(
            custom_pinning=[0, 2, range(5, 8)],
            db_cpus=4,
            db_identifier="my-db",
            debug=True,
            limit_app_cpus=False,
            unix_socket="/tmp/my socket",
            ifname="ib0",
        ),
    ),
    "slurm-database-array": lambda: database(
        scheduler="slurm", db_nodes=3, batch_settings=on_slurm()
    ),
    "database-pinned": lambda: database(db_nodes=2, custom_pinning=[0, 2, range(5, 7)]),
    "slurm-database-hosts": lambda: database(
        scheduler="slurm", db_nodes=5, layout="gang", shards_per_host=2, db_cpus=4
    ),
    "slurm-database-array-hosts": lambda: database(
        scheduler="slurm", db_nodes=5, shards_per_host=2, custom_pinning=[0, 1, 4, 5]
    ),
    "pbs-database-array-hosts": lambda: database(scheduler="pbs", db_nodes=5, shards_per_host=2),
    "pbs-database-gang-hosts": lambda: database(
        scheduler="pbs", db_nodes=5, layout="gang", shards_per_host=2, db_cpus=2
    ),
    "slurm-model-colocated": lambda: model(
        "app", many(), scheduler="slurm", prepare=lambda it: it.colocate_db_uds(per="numa")
    ),
    "pbs-model-colocated": lambda: model(
        "app", many_on_mpi(), scheduler="pbs", prepare=lambda it: it.colocate_db_tcp(db_cpus=2)
    ),
    "slurm-database-gang": lambda: database(scheduler="slurm", db_nodes=3, layout="gang"),
    "model-container": lambda: model("app", contained(), "orchestrator"),
    "slurm-model-several": lambda: model("app", several(), scheduler="slurm"),
    "slurm-model-at-a-site": at_a_site,
    "slurm-model": lambda: model("app", many(), "orchestrator", scheduler="slurm"),
    "pbs-database-array": lambda: database(
        scheduler="pbs",
        db_nodes=3,
        batch_settings=BatchSettings(
            time="1-12:00:00", queue="debug", account="a1", batch_args={"filesystems": "home:eagle"}
        ),
    ),
    "pbs-database-1": lambda: database(scheduler="pbs"),
    "pbs-database-gang": lambda: database(scheduler="pbs", db_nodes=3, layout="gang"),
    "pbs-model": lambda: model("app", on_mpi(), "orchestrator", scheduler="pbs"),
    "slurm-steps-database": lambda: database(scheduler="slurm-steps", db_nodes=3),
    "slurm-steps-model": lambda: model("app", many(), scheduler="slurm-steps"),
    "slurm-steps-model-single": lambda: model(
        "app", RunSettings("program"), scheduler="slurm-steps"
    ),
    "torque-database-array": lambda: database(
        scheduler="torque", db_nodes=3, batch_settings=BatchSettings(time="1:00:00", queue="batch")
    ),
    "pbs-steps-database": lambda: database(scheduler="pbs-steps", db_nodes=3),
    "pbs-steps-model": lambda: model("app", on_mpi(), scheduler="pbs-steps"),
    "ensemble": lambda: ensemble("orchestrator"),
    "ensemble-colocated": lambda: ensemble(prepare=lambda it: it.colocate_db_uds()),
    "ensemble-files": lambda: ensemble(files=True),
    "slurm-ensemble": lambda: ensemble(scheduler="slurm"),
    "pbs-ensemble": lambda: ensemble(scheduler="pbs"),
    "slurm-steps-ensemble": lambda: ensemble(scheduler="slurm-steps", count=9),
    "model-ugly": lambda: model(
        "app", RunSettings("program", list(UGLY), env_vars={"A B-c": "x\ny", "N": 1.5, "E": ""})
    ),
}


def many_on_mpi() -> RunSettings:
    settings = RunSettings("program", ["in put"], container=Container("/opt/my image.sif"))
    settings.set_nodes(2)
    settings.set_tasks_per_node(4)
    return settings


def scheduler_of(case: str) -> str:
    names = ("slurm-steps", "slurm", "pbs-steps", "pbs", "torque")
    return next((name for name in names if case.startswith(name + "-")), "local")


@cache
def render(case: str) -> Script:
    return render_for(CASES[case](), scheduler_of(case))


def launched() -> RunSettings:
    settings = RunSettings("program", run_command="mpirun", run_args={"x": None, "map-by": "n u"})
    settings.set_tasks(4)
    return settings


@pytest.mark.parametrize("case", CASES)
def test_a_script_is_what_it_was(case, request):
    text = render(case).text
    file = HERE / f"{case}.sh"
    if request.config.getoption("--update-golden"):
        file.write_text(text, encoding="utf-8")
    if not file.exists():
        pytest.fail(f"{file} is missing: run `make golden`, read it, and check it in")
    if file.read_bytes() != text.encode():
        # The lines that differ first, then the way out.
        assert text.splitlines() == file.read_text(encoding="utf-8").splitlines(), (
            f"{file.name} is rendered differently now: if that is wanted, run `make golden` and "
            "read the difference before you commit it"
        )
        pytest.fail(f"{file.name} differs at its end: run `make golden` if that is wanted")


def test_every_golden_file_has_a_case():
    assert sorted(path.stem for path in HERE.glob("*.sh")) == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_bash_and_shellcheck_accept_a_script(case):
    """The flow of data through the libraries, most of the script, is analysed by `make lint`."""
    file = HERE / f"{case}.sh"
    check = [tool("shellcheck"), "--extended-analysis=false", "-s", "bash", "-e", ALLOWED]
    for argv in (["bash", "-n"], check):
        done = subprocess.run([*argv, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_no_function_of_a_script_takes_the_place_of_another(case):
    names = re.findall(r"^(\w+)\(\) \{", render(case).text, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("case", CASES)
def test_the_header_holds_the_hash_of_what_follows(case):
    script = render(case)
    head, mark, rest = script.text.partition("# sha256 of what follows: ")
    digest, _, body = rest.partition("\n")
    assert mark
    assert digest == script.sha256 == hashlib.sha256(body.encode()).hexdigest()
    assert head.startswith("#!/bin/bash\n")
    command = {"slurm": "sbatch", "pbs": "qsub", "torque": "qsub"}.get(scheduler_of(case), "bash")
    assert f"# to submit it by hand: {command} THIS_FILE\n" in head
    assert f"from {scheduler_of(case)}/" in head


@pytest.mark.parametrize("case", CASES)
def test_rendering_twice_gives_the_same_bytes(case):
    assert render(case) == render.__wrapped__(case)


@pytest.mark.parametrize("case", CASES)
def test_a_script_holds_no_secret(case):
    """A password has 64 hex digits; only the hash of the script and node ids look similar."""
    job = CASES[case]()
    script = render(case)
    known = {script.sha256, *getattr(job, "node_ids", ())}
    assert set(re.findall(r"\b[0-9a-f]{24,}\b", script.text)) <= known
    assert not re.search(r"password=[0-9A-Za-z]", script.text)
    assert not re.search(r"(?i)\b(requirepass|masterauth) ", script.text)
    # A batch job is found by its token again, so that one stands there; it opens nothing.
    assert (TOKEN in script.text) == (scheduler_of(case) in ("slurm", "pbs", "torque"))


@pytest.mark.parametrize("case", CASES)
def test_a_script_has_no_traces_of_templates(case):
    text = render(case).text
    assert "{%" not in text
    assert "# shellcheck shell" not in text
    assert re.search(r"\{\{|\}\}[^}\"]", text) is None
