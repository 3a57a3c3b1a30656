"""The module is found, compiled and loaded; without it the reason is told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hpcorch.cli.main import main
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError
from hpcorch.module import library
from tests.helpers import admin, database_job, fake_machine, free_port, server_program
from tests.module.conftest import SERVERS, module_path

OURS = "/opt/server_module.so"


def modules(security="password", module=OURS, **asked):
    database = Orchestrator(security=security, **asked)
    return database_job(database, machine=fake_machine(module=module)).server.modules


def test_databases_for_smartredis_programs_load_it_when_it_is_there():
    assert modules("smartredis") == (OURS,)
    assert modules("smartredis", module="") == ()
    assert modules("password") == ()


def test_a_user_s_own_module_is_not_joined_by_ours_unless_asked():
    assert modules("smartredis", module_paths=["/opt/redisai.so"]) == ("/opt/redisai.so",)
    assert modules(ai_commands=True, module_paths=["/opt/x.so"]) == (OURS, "/opt/x.so")
    assert modules("smartredis", ai_commands=False) == ()


def test_asking_for_it_without_having_it_is_refused_with_the_cure():
    with pytest.raises(InputError, match="needs the server module") as caught:
        modules(module="", ai_commands=True)
    assert caught.value.hint == "hpcorch module build"


def test_it_is_compiled_where_the_user_wants_it_and_found_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_PACKAGE", without_compiled(tmp_path))
    assert library.find_module(os.environ) is None
    assert main(["module", "path"]) == 2
    assert "hpcorch module build" in capsys.readouterr().err
    assert main(["module", "build"]) == 0
    built = capsys.readouterr().out.strip()
    assert built.startswith(str(tmp_path / "cache"))
    assert str(library.find_module(os.environ)) == built
    assert [path.name for path in Path(built).parent.iterdir()] == [Path(built).name]


def without_compiled(tmp_path: Path) -> Path:
    """Return a package directory that holds the source only."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "src").symlink_to(Path(library.__file__).parent / "src")
    return package


def test_a_failed_compilation_leaves_nothing_and_shows_what_the_compiler_said(tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'no space for jokes' >&2\nexit 1\n")
    compiler.chmod(0o755)
    with pytest.raises(InputError, match="cannot compile the module: no space for jokes"):
        library.build_module(tmp_path / "out" / "m.so", {"CC": str(compiler), "PATH": ""})
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(InputError, match="there is no C compiler"):
        library.build_module(tmp_path / "m.so", {"PATH": str(tmp_path / "none")})


def test_a_named_module_must_be_there(monkeypatch):
    with pytest.raises(InputError, match="HPCORCH_MODULE is '/none'"):
        library.find_module({"HPCORCH_MODULE": "/none"})
    assert library.find_module({"HPCORCH_MODULE": module_path()}) == Path(module_path())


@pytest.mark.redis
@pytest.mark.parametrize("name", SERVERS)
def test_module_check_loads_it_into_the_server_and_uses_it(name, capsys):
    assert main(["module", "check", "--server", server_program(name)]) == 0
    assert "a tensor came back unchanged" in capsys.readouterr().err


@pytest.mark.redis
def test_three_shards_for_smartredis_programs_answer_ai_commands(exp, monkeypatch):
    monkeypatch.setenv("REDIS_PATH", server_program("debian"))
    database = exp.create_database(port=free_port(3), db_nodes=3, security="smartredis")
    exp.start(database)
    for shard in range(3):
        assert "hpcorch" in str(admin(exp, database, shard).execute_command("MODULE", "LIST"))
    with database.client() as client:
        client.put_tensor("t", np.arange(6.0))
        assert np.array_equal(client.get_tensor("t"), np.arange(6.0))
