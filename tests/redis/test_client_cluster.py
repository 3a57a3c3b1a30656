"""A cluster that loses a node and gets it back, and programs that share one client."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import ExitStack

import numpy as np
import pytest
from redis.crc import key_slot

from hpcorch.client import Client, RedisConnectionError
from hpcorch.client.connection import Request
from tests.helpers import until
from tests.redis.conftest import RunningServer, is_whole, settled, spawn, start_nodes
from tests.redis.test_client_many import connect

pytestmark = pytest.mark.redis


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster that the test may ruin."""
    for attempt in range(5):
        with ExitStack() as stack:
            base = tmp_path / str(attempt)
            base.mkdir()
            nodes = start_nodes(base, stack)
            until(lambda n=nodes: settled(n), "cluster_state:ok")  # type: ignore[misc]
            if all(node.process.poll() is None for node in nodes):
                yield nodes
                return
    pytest.fail("no cluster starts: another program takes its ports every time")


def key_on(shard: int) -> str:
    """Return a key whose slot lies on that one of the three nodes."""
    return next(k for k in map(str, range(1000)) if key_slot(k.encode()) * 3 // 16384 == shard)


def restart(node: RunningServer) -> RunningServer:
    options = [str(one) for one in node.process.args]  # type: ignore[union-attr]
    process = spawn(node.directory, *options[options.index("--port") :])
    return RunningServer(process, node.directory, node.port)


def test_a_node_is_lost_and_returns(own_cluster, monkeypatch):
    lost = own_cluster[1]
    # Short, since a cluster notices after 15 s that it is not complete; what must be done has more.
    router = connect(own_cluster, SR_CMD_TIMEOUT=5)
    here, there = key_on(0), key_on(1)
    array = np.arange(100_000)
    with Client(True, own_cluster[0].ssdb) as client:
        client.put_tensor(here, array)
        client.put_tensor(there, array)
        monkeypatch.setenv("SR_CMD_TIMEOUT", "1")
        hasty = Client(True, own_cluster[0].ssdb)
        lost.stop()
        # The rest of the cluster goes on, until it notices that it is not complete.
        assert np.array_equal(client.get_tensor(here), array)
        with (
            hasty,
            pytest.raises(RedisConnectionError, match=rf"{lost.ssdb} did not.*'{there}' within 1"),
        ):
            hasty.put_tensor(there, array)
        requests = [Request(k, (b"EXISTS", k)) for k in (here.encode(), there.encode())]
        with pytest.raises(RedisConnectionError, match=rf"{lost.ssdb} did not .*'{there}'"):
            router.run_many(requests)
    monkeypatch.setenv("SR_CMD_TIMEOUT", "100")
    with Client(True, own_cluster[0].ssdb) as client, ExitStack() as stack:
        waiting = threading.Thread(target=client.put_tensor, args=(there, array))
        waiting.start()
        stack.callback(restart(lost).stop)
        waiting.join(100)
        assert not waiting.is_alive()
        assert np.array_equal(client.get_tensor(there), array)
        until(lambda: all(is_whole(node) for node in own_cluster), "cluster_state:ok")
        assert router.run_many(requests) == [1, 1]
    router.close()


def exercise(client: Client, name: str) -> None:
    for number in range(15):
        array = np.full(20_000 + number, number)
        client.put_tensor(f"{name}.{number}", array)
        assert np.array_equal(client.get_tensor(f"{name}.{number}"), array)


def test_processes_and_threads_share_a_client(cluster):
    fork = multiprocessing.get_context("fork")
    with Client(True, cluster[0].ssdb) as client:
        exercise(client, "parent")
        failures = []

        def work(name: str) -> None:
            try:
                exercise(client, name)
            except BaseException as error:
                failures.append(error)

        # Forked while threads of the parent are in the middle of commands.
        threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        children = [fork.Process(target=exercise, args=(client, f"child{n}")) for n in range(3)]
        for child in children:
            child.start()
        exercise(client, "parent")
        for thread in threads:
            thread.join(100)
        for child in children:
            child.join(100)
        assert [child.exitcode for child in children] == [0, 0, 0]
        assert not failures
        exercise(client, "parent")
