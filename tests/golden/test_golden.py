"""Scripts as they are sent, byte for byte; bash and shellcheck accept each of them."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import RunSettings
from hpcorch.plan import DatabaseUse, Job, plan_database, suffix
from hpcorch.sites import Site
from tests.helpers import TOKEN, fake_machine, model_job, render, tool

HERE = Path(__file__).parent
# SC2317 and SC2329 are wrong about functions that only traps call; SC2016 is about arguments of
# users that look like expansions and must not be any.
ALLOWED = "SC2317,SC2329,SC2016"
UGLY = ("", "two words", "it's", '"quoted"', "$(id) `id` $HOME", "-n", "back\\slash", "a\nb", "ü目")


def database(*, tls: bool = True, flavour="redis", conf: str = "", settings=None, **facts) -> Job:
    described = Orchestrator(port=6379, **facts)
    for key, value in (settings or {}).items():
        described.set_db_conf(key, value)
    where = f"/scratch/exp/{described.name}"
    machine = fake_machine(flavour, tls=tls, conf=conf)
    return plan_database(described, machine, Site(), where, TOKEN, f"bash {where}/job.sh")


def model(name: str, settings: RunSettings, *uses: str, prepare=None) -> Job:
    described = Model(name, settings)
    if prepare is not None:
        prepare(described)
    return model_job(
        described,
        f"/scratch/exp/{name}",
        "/opt/app/program",
        databases=tuple(DatabaseUse(f"/scratch/exp/{use}", suffix(use)) for use in uses),
        machine=fake_machine(),
    )


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
    "model-ugly": lambda: model(
        "app", RunSettings("program", list(UGLY), env_vars={"A B-c": "x\ny", "N": 1.5, "E": ""})
    ),
}


def launched() -> RunSettings:
    settings = RunSettings("program", run_command="mpirun", run_args={"x": None, "map-by": "n u"})
    settings.set_tasks(4)
    return settings


@pytest.mark.parametrize("case", CASES)
def test_a_script_is_what_it_was(case, request):
    text = render(CASES[case]()).text
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
    file = HERE / f"{case}.sh"
    for argv in (["bash", "-n"], [tool("shellcheck"), "-s", "bash", "-e", ALLOWED]):
        done = subprocess.run([*argv, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_header_holds_the_hash_of_what_follows(case):
    script = render(CASES[case]())
    head, mark, rest = script.text.partition("# sha256 of what follows: ")
    digest, _, body = rest.partition("\n")
    assert mark
    assert digest == script.sha256 == hashlib.sha256(body.encode()).hexdigest()
    assert head.startswith("#!/bin/bash\n")
    assert f"bash /scratch/exp/{CASES[case]().name}/job.sh" in head
    assert "from local/" in head


@pytest.mark.parametrize("case", CASES)
def test_rendering_twice_gives_the_same_bytes(case):
    assert render(CASES[case]()) == render(CASES[case]())


@pytest.mark.parametrize("case", CASES)
def test_a_script_holds_no_secret(case):
    """A password has 64 hex digits; only the hash of the script and node ids look similar."""
    job = CASES[case]()
    script = render(job)
    known = {script.sha256, *getattr(job, "node_ids", ())}
    assert set(re.findall(r"\b[0-9a-f]{24,}\b", script.text)) <= known
    assert not re.search(r"password=[0-9A-Za-z]", script.text)
    assert not re.search(r"(?i)\b(requirepass|masterauth) ", script.text)
    assert TOKEN not in script.text


@pytest.mark.parametrize("case", CASES)
def test_a_script_has_no_traces_of_templates(case):
    text = render(CASES[case]()).text
    assert "{%" not in text
    assert "# shellcheck shell" not in text
    assert re.search(r"\{\{|\}\}[^\"]", text) is None
