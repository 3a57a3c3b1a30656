"""The ways to a worker: sockets, the network, any shard, the queue, and what is let in there."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hpcorch.client import (
    Client,
    ConfigOptions,
    RedisRuntimeError,
    RedisTimeoutError,
    handshake,
    model_queue,
    workers,
)
from hpcorch.client.frames import FrameError, Stream
from hpcorch.client.messages import answer_parser
from hpcorch.client.settings import read_settings
from hpcorch.errors import SecurityError
from hpcorch.inference.direct import Listener
from hpcorch.inference.service import Admission
from tests.helpers import until
from tests.inference import models
from tests.inference.conftest import Lab
from tests.inference.models import MLP, ROWS, close

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("kind", ["password", "tls", "tcp"])
def test_a_worker_lets_in_who_knows_the_password(kind, request, connect):
    lab = Lab([request.getfixturevalue(f"{kind}_server")])
    try:
        lab.start("w0", "--host", "127.0.0.1", "--socket", str(lab.directory / "w0.sock"))
        client = connect(lab)
        client.set_model("mlp", MLP, "ONNX")
        close(client.infer("mlp", ROWS)[0])
        # Without the Unix socket the same worker is reached over the network.
        (lab.directory / "w0.sock").unlink()
        client = connect(lab)
        close(client.infer("mlp", ROWS)[0])
        if kind == "password":
            address = workers.listed(client._router)[0]
            sock = socket.create_connection((address.host, address.port))
            with sock, pytest.raises(SecurityError, match="does not accept our password"):
                handshake.greet_worker(Stream(sock), b"a wrong key")
            until(lambda: "does not know the database's password" in lab.log(), "the log line")
            assert b"s3=cr#t" not in Path(f"/proc/{lab.workers['w0'].pid}/cmdline").read_bytes()
    finally:
        lab.close()


def test_any_worker_of_a_cluster_takes_inputs_from_all_shards(cluster, connect):
    lab = Lab(cluster)
    try:
        for shard in range(3):
            lab.begin(f"w{shard}", shard=shard)
        client = connect(lab)
        until(lambda: len(workers.listed(client._router)) == 3, "three workers on the list")
        client.set_model("sd", models.sum_and_difference(), "ONNX")
        places = {str(client._router.place(b"%d" % n)): str(n) for n in range(50)}
        assert len(places) == 3
        for name in places.values():
            client.put_tensor(name, np.full(2, float(name), np.float32))
        first, second, third = places.values()
        for durable in (False, True):
            client.run_model("sd", [first, second], [third, "d"], durable=durable)
            assert client.get_tensor("d").tolist() == [float(first) - float(second)] * 2
            assert client.get_tensor(third).tolist() == [float(first) + float(second)] * 2
        for name in places.values():
            client.put_tensor(name, np.ones(1, np.float32))
            client.run_model("sd", [name, name], ["s", "d"], durable=True)
    finally:
        lab.close()


def test_without_workers_the_error_says_how_to_get_some(own_lab, connect):
    client = connect(own_lab)
    client.set_model("mlp", MLP, "ONNX")
    with pytest.raises(RedisRuntimeError, match=r"no model worker .* with workers=1 or more"):
        client.infer("mlp", ROWS)
    with pytest.raises(RedisRuntimeError, match="no model worker"):
        client.load_model("mlp")


def test_a_request_in_the_queue_is_answered_by_a_worker_that_starts_later(own_lab, connect):
    client = connect(own_lab)
    client.set_model("mlp", MLP, "ONNX")
    client.put_tensor("in", ROWS)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.run_model, "mlp", "in", "out", durable=True)
        until(lambda: queued(client) == 1, "the request in the queue")
        own_lab.start()
        future.result()
    close(client.get_tensor("out"))
    until(lambda: queued(client) == 0, "an empty queue")


def queued(client: Client) -> int:
    queue = model_queue.queue_at(client._router, "")
    found = client._router.run(queue, lambda link: link.command(b"XLEN", queue))
    return int(found)


def test_a_full_queue_and_a_late_answer_are_errors(own_lab, connect, monkeypatch):
    client = connect(own_lab, SR_MODEL_TIMEOUT="200")
    monkeypatch.setattr(model_queue, "LONGEST_QUEUE", 2)
    monkeypatch.setattr(model_queue, "_GRACE_SECONDS", 0.1)
    client.set_model("mlp", MLP, "ONNX")
    for _ in range(2):
        with pytest.raises(RedisTimeoutError, match=r"no model worker answered within 0\.2 s"):
            client.run_model("mlp", "in", "out", durable=True)
    with pytest.raises(RedisRuntimeError, match="2 requests wait for the model workers"):
        client.run_model("mlp", "in", "out", durable=True)
    # A worker that comes later throws away what nobody waits for any more.
    own_lab.start()
    until(lambda: queued(client) == 0, "an empty queue")
    assert not client.tensor_exists("out")


def test_inputs_beyond_the_limit_are_refused_and_the_connection_lives_on(own_lab, connect):
    own_lab.start("w0", "--max-request", "100000")
    client = connect(own_lab)
    client.set_source("same", "def same(x):\n    return x\n", "PYTHON")
    with pytest.raises(RedisRuntimeError, match=r"has 800000 bytes of inputs, above .* of 100000"):
        client.infer_script("same", "same", np.zeros(100_000))
    client.put_tensor("large", np.zeros(100_000))
    client.put_tensor("half", np.zeros(7_000))
    for durable in (False, True):
        with pytest.raises(
            RedisRuntimeError, match=r"input cannot .* 800000 bytes, above .* 100000"
        ):
            client.run_script("same", "same", ["large"], ["out"], durable=durable)
        with pytest.raises(RedisRuntimeError, match="has 112000 bytes of inputs"):
            client.run_script("same", "same", ["half", "half"], ["out"], durable=durable)
    assert client.infer_script("same", "same", np.zeros(12_000))[0].nbytes == 96_000
    assert client.infer_script("same", "same", np.zeros((0, 3)))[0].shape == (0, 3)


def test_what_is_no_frame_ends_only_its_own_connection(client, uds_lab):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(uds_lab.directory / "w0.sock"))
    stream = Stream(sock)
    handshake.greet_worker(stream, handshake.key_of(None))
    stream.send_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer, _ = stream.read(answer_parser())
    assert answer.fault == "refused"
    with pytest.raises((OSError, FrameError)):
        stream.read(answer_parser())
    stream.close()
    client.set_source("same", "def same(x):\n    return x\n", "PYTHON")
    assert client.infer_script("same", "same", np.arange(2))[0].tolist() == [0, 1]


def test_after_a_flush_the_worker_is_found_again(own_lab, connect):
    own_lab.start()
    client = connect(own_lab)
    own_lab.nodes[0].admin().flushall()
    until(lambda: workers.listed(client._router), "the worker listing itself again")
    client.set_model("mlp", MLP, "ONNX")
    client.put_tensor("in", ROWS)
    client.run_model("mlp", "in", "out", durable=True)
    close(client.get_tensor("out"))


def test_a_forked_child_uses_connections_of_its_own(client):
    client.set_source("same", "def same(x):\n    return x\n", "PYTHON")
    client.infer_script("same", "same", np.arange(2))
    child = os.fork()
    if child == 0:
        found = client.infer_script("same", "same", np.arange(3))[0].tolist()
        os._exit(0 if found == [0, 1, 2] else 1)
    mine = [client.infer_script("same", "same", np.arange(4))[0].tolist() for _ in range(20)]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine == [[0, 1, 2, 3]] * 20


def test_a_worker_that_may_begin_no_more_threads_serves_again_later(tmp_path, mocker, caplog):
    listener = Listener(mocker.Mock(), Admission(1, 1), None)
    listener.listen_local(tmp_path / "w.sock")
    begin = mocker.patch.object(threading.Thread, "start", side_effect=RuntimeError("no thread"))
    with socket.socket(socket.AF_UNIX) as refused:
        refused.connect(str(tmp_path / "w.sock"))
        assert refused.recv(1) == b""
    assert "a connection was refused: no thread" in caplog.text
    mocker.stop(begin)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(10)
        caller.connect(str(tmp_path / "w.sock"))
        handshake.greet_worker(Stream(caller), handshake.key_of(None))


def test_the_last_moment_of_a_request_s_time_is_not_for_ever(tcp_server, monkeypatch, mocker):
    monkeypatch.setenv("SSDB", tcp_server.ssdb)
    monkeypatch.setenv("SR_SOCKET_TIMEOUT", "1000")
    settings = read_settings(ConfigOptions.create_from_environment(""))
    with Client() as client:
        queue = model_queue.ModelQueue(client._router, settings)
        mocker.patch("hpcorch.client.model_queue.time").monotonic.side_effect = [0.0, 1.0]
        assert queue._answer(b"hpcorch:reply:nobody", 0.0004) is None
