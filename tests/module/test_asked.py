"""A worker's desk: what it does when nothing comes, when much comes at once, and without rights."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import redis

from hpcorch.client.connection import Server
from hpcorch.client.credentials import Credentials
from hpcorch.client.held_programs import HeldPrograms
from hpcorch.client.routing import Router
from hpcorch.client.settings import Settings, parse_addresses
from hpcorch.inference.asked import Desk
from hpcorch.inference.faults import Fault
from hpcorch.inference.service import Service, check_inputs
from hpcorch.inference.shelf import Shelf
from tests.helpers import until
from tests.inference import models

pytestmark = [pytest.mark.redis, pytest.mark.parametrize("server", ["debian"], indirect=True)]

ROWS = models.weights(2, 64, seed=5)
WHOLE_BATCH = models.weights(16, 64, seed=6)
RUN = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1)


@contextmanager
def desk(server, wait, most=math.inf, together=math.inf, **login):
    """A desk, which ends with its server."""
    settings = Settings(parse_addresses(f"unix://{server.socket}", "test"), clustered=False)
    with closing(Router(settings)) as router:
        shelf = Shelf(HeldPrograms(router), threads=1, turn=0)
        own = replace(settings, credentials=Credentials(**login) if login else None)
        service = Service(router, shelf, most)
        ours = Server(settings.addresses[0], own)
        Desk(ours, "w", service, shelf, wait, patience=0.1, together=together).start()
        yield


def store(ask, *options):
    ask.execute_command("AI.TENSORSET", "x", "FLOAT", 2, 64, "BLOB", ROWS.tobytes())
    ask.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", *options, "BLOB", models.mlp())


def load(ask):
    """Have the model loaded by a batch of a caller's own, which is joined with nobody's."""
    ask.execute_command("AI.TENSORSET", "all", "FLOAT", 16, 64, "BLOB", WHOLE_BATCH.tobytes())
    whole = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "all", "OUTPUTS", 1, "y")
    assert ask.execute_command(*whole) == b"OK"


def seats(ask, *said: str) -> int:
    """How many connections have said one of these last."""
    words = {f"hpcorch.{word}" for word in said}
    return sum(one["cmd"].lower() in words for one in ask.client_list())


def result(ask, key):
    return np.frombuffer(ask.execute_command("AI.TENSORGET", key, "BLOB"), "f4").reshape(2, -1)


def test_a_desk_that_waits_in_vain_stays_on_its_connection(server):
    ask = server.start()
    store(ask)
    with desk(server, 0.02):
        assert ask.execute_command(*RUN, "y") == b"OK"
        before = ask.info("stats")["total_connections_received"]
        asked = "cmdstat_HPCORCH.WORK"
        calls = ask.info("commandstats")[asked]["calls"]
        until(lambda: ask.info("commandstats")[asked]["calls"] > calls + 5, "five questions more")
        assert ask.execute_command(*RUN, "y") == b"OK"
        np.testing.assert_allclose(result(ask, "y"), models.mlp_result(ROWS), 1e-3, 1e-5)
        assert ask.info("stats")["total_connections_received"] == before
        # Nothing is told of a key that goes by other means: the desk looks for itself.
        ask.execute_command("AI.MODELSTORE", "n", "ONNX", "CPU", "BLOB", models.mlp(seed=3))
        ask.rename("n", "m")
        assert ask.execute_command(*RUN, "y") == b"OK"
        np.testing.assert_allclose(result(ask, "y"), models.mlp_result(ROWS, seed=3), 1e-3, 1e-5)


def test_inputs_beyond_the_limit_are_refused_in_the_words_of_the_other_ways(server):
    ask = server.start()
    store(ask)
    with desk(server, 5, most=ROWS.nbytes):
        assert ask.execute_command(*RUN, "y") == b"OK"
        ask.execute_command("AI.TENSORSET", "x", "FLOAT", 3, 64, "BLOB", bytes(3 * 256))
        with pytest.raises(Fault) as fault:
            check_inputs(3 * 256, ROWS.nbytes)
        with pytest.raises(redis.ResponseError) as refused:
            ask.execute_command(*RUN, "y")
        assert str(refused.value) == str(fault.value)
        store(ask)
        assert ask.execute_command(*RUN, "y") == b"OK"


BULK, BUFFER = "proto-max-bulk-len", "client-query-buffer-limit"


@pytest.mark.parametrize(
    ("limit", "when"), [(BULK, "before"), (BUFFER, "before"), (BUFFER, "later")]
)
def test_outputs_that_the_server_would_hang_up_at_are_an_error(server, limit, when):
    ask = server.start()
    store(ask)
    source = "def large(x):\n    return np.zeros(1 << 18)\n\ndef same(x):\n    return x\n"
    ask.execute_command("AI.SCRIPTSET", "s", "CPU", "TAG", "hpcorch:PYTHON", "SOURCE", source)
    run = ("AI.SCRIPTRUN", "s", "large", "INPUTS", "x", "OUTPUTS", "y")
    if when == "before":
        ask.config_set(limit, "1mb")
    with desk(server, 5):
        if when == "later":
            assert ask.execute_command(*run) == b"OK"
            # The connection breaks with the answer; the desk learns of it when it begins anew.
            ask.config_set(limit, "1mb")
        for _ in range(2):
            with pytest.raises(redis.ResponseError, match="output 0 has 2097152 bytes, above the"):
                ask.execute_command(*run)
        assert ask.execute_command("AI.SCRIPTRUN", "s", "same", *run[3:]) == b"OK"


def test_requests_of_many_callers_are_joined(server):
    ask = server.start()
    # It runs only when eight callers are there.
    store(ask, "BATCHSIZE", 16, "MINBATCHSIZE", 16)
    with desk(server, 5):
        load(ask)
        with ThreadPoolExecutor(8) as callers:
            words = [(*RUN, f"y{number}", "TIMEOUT", 60000) for number in range(8)]
            answers = list(callers.map(lambda run: ask.execute_command(*run), words))
        assert answers == [b"OK"] * 8
        for number in range(8):
            np.testing.assert_allclose(
                result(ask, f"y{number}"), models.mlp_result(ROWS), 1e-3, 1e-5
            )


def test_requests_that_wait_to_be_joined_have_no_more_memory_than_is_allowed(server):
    ask = server.start()
    # Three requests of two rows are run at once, no sooner; a fourth one would have no room.
    store(ask, "BATCHSIZE", 16, "MINBATCHSIZE", 6)
    with desk(server, 5, most=WHOLE_BATCH.nbytes, together=WHOLE_BATCH.nbytes + 2 * ROWS.nbytes):
        load(ask)
        with ThreadPoolExecutor(6) as callers:
            words = [(*RUN, f"y{number}", "TIMEOUT", 60000) for number in range(6)]
            assert list(callers.map(lambda run: ask.execute_command(*run), words)) == [b"OK"] * 6
        # Those that have just answered ask anew.
        until(lambda: seats(ask, "work", "done") == seats(ask, "work"), "seats that wait")
        assert seats(ask, "work") == 3


def test_a_desk_without_the_right_to_work_gives_up(server, caplog):
    ask = server.start()
    ask.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-hpcorch.work")
    with desk(server, 5, user="app", password="secret"):
        until(lambda: "are not served" in caplog.text, "the desk's last words")
    assert "AI.MODELEXECUTE and AI.SCRIPTRUN are not served" in caplog.text
    assert ask.info("everything")["hpcorch_workers"] == 0


def test_a_desk_whose_first_wait_a_demotion_ends_asks_anew(server, caplog):
    ask = server.start()
    store(ask)
    caplog.set_level("INFO", logger="hpcorch.inference")
    with desk(server, 5):
        until(lambda: ask.info("everything")["hpcorch_workers"] == 1, "the desk's question")
        ask.execute_command("REPLICAOF", "127.0.0.1", 1)
        until(lambda: "UNBLOCKED" in caplog.text, "the end of the wait")
        ask.execute_command("REPLICAOF", "NO", "ONE")
        assert ask.execute_command(*RUN, "y") == b"OK"
        np.testing.assert_allclose(result(ask, "y"), models.mlp_result(ROWS), 1e-3, 1e-5)


def test_outputs_that_no_tensor_can_be_are_an_error(server):
    ask = server.start()
    store(ask)
    source = "def odd(x):\n    return np.zeros(3, np.uint32)\n\ndef none(x):\n    return x[:0]\n"
    source += "\ndef flag(x):\n    return x > 100\n"
    ask.execute_command("AI.SCRIPTSET", "s", "CPU", "TAG", "hpcorch:PYTHON", "SOURCE", source)
    with desk(server, 5):
        for function, told in (("odd", "uint32 of shape"), ("none", "of shape")):
            with pytest.raises(redis.ResponseError, match=told):
                ask.execute_command("AI.SCRIPTRUN", "s", function, "INPUTS", "x", "OUTPUTS", "y")
        ask.execute_command("AI.SCRIPTRUN", "s", "flag", "INPUTS", "x", "OUTPUTS", "y")
        assert ask.execute_command("AI.TENSORGET", "y", "META")[1] == b"BOOL"
        ask.execute_command("AI.SCRIPTRUN", "s", "flag", "INPUTS", "x", "OUTPUTS", "y")
