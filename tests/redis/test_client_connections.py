"""Who may connect, what a lost server looks like, and where a cluster's keys are found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any, cast

import numpy as np
import pytest
from redis.crc import key_slot

from hpcorch.client import Client, ConfigOptions, RedisConnectionError, RedisRuntimeError
from hpcorch.client.registry import register, unregister
from tests.helpers import free_port, until
from tests.redis.conftest import RunningServer, answers, make_certificates, private, spawn

pytestmark = pytest.mark.redis


def test_a_password_is_asked_for_at_once(password_server, monkeypatch):
    monkeypatch.setenv("SR_CONN_TIMEOUT", "60")
    started = time.monotonic()
    with pytest.raises(RedisConnectionError, match=r"asks for a password.*HPCORCH_CREDENTIALS"):
        Client(False, password_server.ssdb)
    assert time.monotonic() - started < 30


def test_a_wrong_password_is_named_without_showing_it(password_server, monkeypatch, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("user=app\npassword=hunter2\n")
    monkeypatch.setenv("HPCORCH_CREDENTIALS_x", str(wrong))
    monkeypatch.setenv("SSDB_x", password_server.ssdb)
    with pytest.raises(RedisConnectionError) as caught:
        Client(ConfigOptions.create_from_environment("x"))
    text = str(caught.value)
    assert "does not accept the password for user 'app'" in text
    assert str(wrong) in text
    assert "HPCORCH_CREDENTIALS_x" in text
    assert "hunter2" not in text


def test_the_legacy_form_finds_credentials_by_address(password_server, tmp_path):
    facts = tmp_path / "address.json"
    content = {"version": 1, "addresses": [password_server.ssdb], "type": "Standalone"}
    facts.write_text(json.dumps({**content, "credentials": str(password_server.credentials)}))
    register([password_server.ssdb], facts)
    before = dict(os.environ)
    with Client(cluster=False, address=password_server.ssdb, logger_name="driver") as client:
        client.put_tensor("legacy", np.ones(3))
    assert dict(os.environ) == before
    unregister([password_server.ssdb], facts)
    with pytest.raises(RedisConnectionError, match="asks for a password"):
        Client(cluster=False, address=password_server.ssdb)


def test_tls_with_a_foreign_ca_fails_at_once(tls_server, tmp_path, monkeypatch):
    make_certificates(tmp_path)
    path = private(tmp_path / "credentials", "tls_ca=ca.crt\ntls_cert=node.crt\ntls_key=node.key\n")
    monkeypatch.setenv("HPCORCH_CREDENTIALS", str(path))
    monkeypatch.setenv("SR_CONN_TIMEOUT", "60")
    with pytest.raises(RedisConnectionError, match="no TLS connection"):
        Client(False, tls_server.ssdb)


def test_nobody_there(monkeypatch):
    monkeypatch.setenv("SR_CONN_TIMEOUT", "1")
    with pytest.raises(RedisConnectionError, match=r"127.0.0.1:1 within 1 s; .*refused"):
        Client(False, "127.0.0.1:1")


def test_a_server_that_starts_late(tmp_path, monkeypatch):
    monkeypatch.setenv("SR_CONN_TIMEOUT", "20")
    port = free_port()
    processes = []
    timer = threading.Timer(
        0.5, lambda: processes.append(spawn(tmp_path / "late", "--port", str(port)))
    )
    timer.start()
    try:
        with Client(False, f"127.0.0.1:{port}") as client:
            assert not client.key_exists("x")
    finally:
        timer.join()
        RunningServer(processes[0], tmp_path).stop()


def test_a_lost_server_is_an_error_and_a_returned_one_is_used(own_server, monkeypatch):
    monkeypatch.setenv("SR_CMD_TIMEOUT", "5")
    with Client(False, own_server.ssdb) as client:
        client.put_tensor("a", np.ones(10**6))
        own_server.stop()
        with pytest.raises(RedisConnectionError, match=f"{own_server.ssdb} did not complete.*'a'"):
            client.get_tensor("a")
        process = spawn(own_server.directory, "--port", str(own_server.port))
        try:
            until(lambda: answers(own_server), "the server's return")
            client.put_tensor("a", np.ones(10))
            assert client.get_tensor("a").shape == (10,)
        finally:
            RunningServer(process, own_server.directory).stop()


def test_connections_that_the_server_closed_are_replaced(own_server):
    with Client(False, own_server.ssdb) as client:
        client.put_tensor("a", np.arange(5))
        own_server.admin().client_kill_filter(_type="normal", skipme=True)
        assert np.array_equal(client.get_tensor("a"), np.arange(5))


def test_threads_share_a_client(tcp_server):
    failures = []

    def work(client, number):
        try:
            for round_ in range(20):
                array = np.full(5000, number * 100 + round_)
                client.put_tensor(f"thread{number}", array)
                assert np.array_equal(client.get_tensor(f"thread{number}"), array)
        except BaseException as error:
            failures.append(error)

    with Client(False, tcp_server.ssdb) as client:
        threads = [threading.Thread(target=work, args=(client, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_first_calls_import_nothing(tcp_server):
    """A child that another thread forks meanwhile would wait for that import for ever."""
    program = """
import sys
import numpy as np
from hpcorch.client import Client

client = Client(False, sys.argv[1])
before = set(sys.modules)
client.put_tensor("first", np.arange(3))
client.get_tensor("first", np.arange(3))
print([name for name in set(sys.modules) - before if name.startswith(("numpy", "hpcorch"))])
"""
    words = [sys.executable, "-c", program, tcp_server.ssdb]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_forked_child_has_its_own_connections(tcp_server):
    with Client(False, tcp_server.ssdb) as client:
        client.put_tensor("fork", np.arange(1000))
        child = os.fork()
        if child == 0:
            ok = all(np.array_equal(client.get_tensor("fork"), np.arange(1000)) for _ in range(50))
            os._exit(0 if ok else 1)
        for _ in range(50):
            assert np.array_equal(client.get_tensor("fork"), np.arange(1000))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_kind_of_database_is_asked_or_believed(tcp_server, cluster, monkeypatch):
    monkeypatch.setenv("SSDB", tcp_server.ssdb)
    assert "(Standalone)" in str(Client())
    monkeypatch.setenv("SSDB", cluster[1].ssdb)
    with Client() as client:
        assert "(Clustered)" in str(client)
        for index in range(30):
            client.put_tensor(f"spread{index}", np.array(index))
    assert all(node.admin().dbsize() > 0 for node in cluster)
    with pytest.raises(RedisConnectionError, match="is no cluster"):
        Client(True, tcp_server.ssdb)
    with Client(False, cluster[0].ssdb) as client:
        elsewhere = next(k for k in (b"a", b"b", b"c", b"d") if key_slot(k) > 5460).decode()
        with pytest.raises(RedisRuntimeError, match="SR_DB_TYPE=Clustered"):
            client.get_tensor(elsewhere)


def move_slot(slot, source, target):
    """Announce the move of an empty slot; the call that is returned completes it."""
    source_id, target_id = (
        node.admin().execute_command("CLUSTER MYID") for node in (source, target)
    )
    target.admin().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.admin().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)

    def complete():
        for node in (target, source):
            node.admin().execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    return complete


def test_a_moved_slot_is_followed(cluster):
    first, second = cluster[0], cluster[1]
    slot = first.admin().execute_command("CLUSTER", "KEYSLOT", "{b}moved")
    assert slot <= 5460
    array = np.arange(100_000)
    with Client(True, first.ssdb) as client:
        complete = move_slot(slot, first, second)
        # The key is new: the old owner says ASK.
        client.put_tensor("{b}moved", array)
        assert np.array_equal(client.get_tensor("{b}moved"), array)
        complete()
        first.admin().config_resetstat()
        client.put_tensor("{b}moved", array)
        assert np.array_equal(client.get_tensor("{b}moved"), array)
        assert client.tensor_exists("{b}moved")
        # Told once, the client goes to the new owner itself.
        assert re.search(r"\b1\b", str(first.admin().info("errorstats")["errorstat_MOVED"]))
        client.delete_tensor("{b}moved")
        move_slot(slot, second, first)()
        client.put_tensor("{b}moved", array)
        assert first.admin().exists("{b}moved")


@pytest.mark.parametrize(
    "arguments",
    [
        {"config_options": 3},
        {"config_options": False, "address": 5},
        {"config_options": False, "cluster": True},
        {"address": "127.0.0.1:1"},
        {"cluster": 1, "address": "127.0.0.1:1"},
        {"logger_name": 4},
    ],
)
def test_arguments_of_the_wrong_type(arguments):
    with pytest.raises(TypeError):
        Client(**arguments)


def test_names_and_counts_of_the_wrong_type(tcp_server):
    with Client(False, tcp_server.ssdb) as client:
        number: Any = 3
        for call in (client.get_tensor, client.key_exists, client.delete_tensor):
            with pytest.raises(TypeError, match="a name must be a string"):
                call(number)
        with pytest.raises(TypeError, match="numpy array, not list"):
            client.put_tensor("x", cast("Any", [1, 2]))
        with pytest.raises(TypeError, match="poll_frequency_ms"):
            client.poll_key("x", cast("Any", 0.5), 3)
        with pytest.raises(ValueError, match="num_tries=-1"):
            client.poll_key("x", 1, -1)
