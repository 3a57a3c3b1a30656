"""Models run by real workers beside real servers, by every way that leads to them."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hpcorch.client import (
    Client,
    RedisRuntimeError,
    RedisTimeoutError,
    handshake,
    model_queue,
    workers,
)
from hpcorch.client.frames import FrameError, Stream
from hpcorch.client.messages import answer_parser
from hpcorch.errors import InputError, InputTypeError, SecurityError
from tests.helpers import until
from tests.inference import models
from tests.inference.conftest import Lab
from tests.module.conftest import module_path
from tests.redis.conftest import running

pytestmark = pytest.mark.redis

ROWS = models.weights(3, 64, seed=5)
MLP = models.mlp()
RESULT = models.mlp_result(ROWS)


def close(found, wanted=RESULT):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_one_model_three_ways(client):
    client.set_model("mlp", MLP, "ONNX")
    close(client.infer("mlp", ROWS)[0])
    client.put_tensor("in", np.asfortranarray(ROWS))
    client.run_model("mlp", "in", ["out"])
    close(client.get_tensor("out"))
    client.run_model("mlp", ["in"], "out2", durable=True)
    close(client.get_tensor("out2"))


def test_names_take_the_prefixes_of_ensembles(uds_lab, connect):
    client = connect(uds_lab, SSKEYIN="member_3", SSKEYOUT="member_3")
    client.set_model("shared", MLP, "ONNX")
    client.put_tensor("in", ROWS)
    client.run_model("shared", "in", "out")
    close(client.get_tensor("out"))
    assert client.key_exists("member_3.out")
    client.use_model_ensemble_prefix(True)
    assert not client.model_exists("shared")
    client.set_model("own", MLP, "ONNX")
    close(client.infer("own", ROWS)[0])
    client.set_function("shift", shift)
    client.run_script("shift", "shift", ["in", "in"], ["twice", "positive"])
    np.testing.assert_array_equal(client.get_tensor("twice"), 2 * ROWS)
    client.use_model_ensemble_prefix(False)
    assert client.model_exists("member_3.own")
    assert client.script_exists("member_3.shift")


def test_tensors_of_smartredis_programs_are_inputs_and_outputs(tmp_path, connect):
    with running(tmp_path, "--loadmodule", module_path()) as server:
        lab = Lab([server])
        try:
            lab.start()
            client = connect(lab)
            client.set_model("mlp", MLP, "ONNX")
            command = ("AI.TENSORSET", "in", "FLOAT", 3, 64, "BLOB", ROWS.tobytes())
            server.admin().execute_command(*command)
            client.run_model("mlp", "in", "out")
            held = server.admin().execute_command("AI.TENSORGET", "out", "META", "BLOB")
            assert held[1] == b"FLOAT"
            close(np.frombuffer(held[5], np.float32).reshape(held[3]))
            client.run_model("mlp", "in", "again", durable=True)
            close(client.get_tensor("again"))
            with pytest.raises(RedisRuntimeError, match=r"input cannot be had: .* key 'none'"):
                client.run_model("mlp", "none", "out")
        finally:
            lab.close()


def test_what_is_stored_already_is_not_loaded_again(client, uds_lab):
    client.set_model("kept", MLP, "ONNX")
    client.infer("kept", ROWS)
    before = uds_lab.log().count("loaded the model kept")
    store = client._inference.store
    version = store.find("model", "kept").version
    client.set_model("kept", MLP, "ONNX")
    client.infer("kept", ROWS)
    assert store.find("model", "kept").version == version
    assert uds_lab.log().count("loaded the model kept") == before == 1
    client.set_model("kept", MLP, "ONNX", batch_size=4)
    assert store.find("model", "kept").version != version


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


def test_a_tflite_model_and_a_convolution_give_what_they_should(client):
    client.set_model("lite", models.tflite_dense(), "TFLITE")
    rows = models.weights(1, 4, seed=2)
    close(client.infer("lite", rows)[0], rows @ models.weights(3, 4).T)
    more = models.weights(5, 4, seed=2)
    close(client.infer("lite", more)[0], more @ models.weights(3, 4).T)
    with pytest.raises(RedisRuntimeError, match="input x is of dtype float32, not float64"):
        client.infer("lite", rows.astype(float))
    client.set_model("cnn", models.cnn(), "ONNX")
    assert client.infer("cnn", np.ones((2, 1, 28, 28), np.float32))[0].shape == (2, 10)


def test_what_the_framework_says_reaches_the_caller(client):
    client.set_model("mlp", MLP, "ONNX")
    client.put_tensor("wrong", np.ones((1, 3), np.float32))
    for durable in (False, True):
        with pytest.raises(RedisRuntimeError, match="Got: 3 Expected: 64"):
            client.run_model("mlp", "wrong", "out", durable=durable)
    with pytest.raises(RedisRuntimeError, match=r"has 1 input\(s\), and 2 were given"):
        client.infer("mlp", [ROWS, ROWS])
    client.put_tensor("right", ROWS)
    with pytest.raises(RedisRuntimeError, match=r"has 1 output\(s\), and 2 names"):
        client.run_model("mlp", "right", ["a", "b"])
    with pytest.raises(RedisRuntimeError, match="there is no tensor 'nowhere' in the database"):
        client.run_model("mlp", "nowhere", "out")
    with pytest.raises(RedisRuntimeError, match="there is no model 'nobody' in the database"):
        client.infer("nobody", ROWS)
    client.set_model("broken", b"no model at all", "ONNX")
    with pytest.raises(RedisRuntimeError, match=r"'broken' cannot be loaded: .*[Pp]rotobuf"):
        client.infer("broken", ROWS)


def test_a_device_or_framework_that_is_missing_is_named(client):
    client.set_model_multigpu("gpu", MLP, "ONNX", 0, 2)
    with pytest.raises(RedisRuntimeError, match="no device GPU: its framework finds CPU"):
        client.infer("gpu", ROWS)
    client.put_tensor("in", ROWS)
    with pytest.raises(RedisRuntimeError, match="no device GPU:1: its framework finds CPU"):
        client.run_model_multigpu("gpu", 3, 0, 2, "in", "out")
    client.delete_model_multigpu("gpu", 0, 2)
    assert not client.model_exists("gpu")


def test_a_model_that_is_replaced_or_removed_is_not_used_again(client, connect, uds_lab):
    other = connect(uds_lab)
    doubled = models.sum_and_difference()
    two = [np.ones(2, np.float32)] * 2
    client.set_model("changing", MLP, "ONNX")
    close(client.infer("changing", ROWS)[0])
    other.set_model("changing", doubled, "ONNX")
    # Whoever replaced it sees the new one at once, all others as soon as the worker has heard.
    assert other.infer("changing", two)[0].tolist() == [2.0, 2.0]
    assert client.infer("changing", two)[0].tolist() == [2.0, 2.0]
    client.delete_model("changing")
    assert not client.model_exists("changing")

    def is_gone():
        try:
            return not other.infer("changing", two)
        except RedisRuntimeError as error:
            return "there is no model 'changing'" in str(error)

    until(is_gone, "the worker forgetting the model")


def test_a_model_in_many_chunks_comes_back_whole(client):
    client.set_model_chunk_size(5000)
    client.set_model("chunked", MLP, "ONNX", tag="v1")
    assert client.get_model("chunked") == MLP
    close(client.infer("chunked", ROWS)[0])
    keys = client._router.run(b"x", lambda link: link.command(b"KEYS", "hpcorch:model:chunked:*"))
    assert len(keys) == -(-len(MLP) // 5000)
    client.set_model("chunked", MLP[:12_000], "ONNX")
    assert client.get_model("chunked") == MLP[:12_000]
    keys = client._router.run(b"x", lambda link: link.command(b"KEYS", "hpcorch:model:chunked:*"))
    assert len(keys) == 3
    assert client.poll_model("chunked", 1, 1)
    client.delete_model("chunked")
    assert not client.poll_model("chunked", 1, 2)
    with pytest.raises(RedisRuntimeError, match="there is no model 'chunked'"):
        client.get_model("chunked")


def shift(array, by):
    return array + by, np.abs(by)


def test_a_python_function_runs_on_numpy_arrays(client):
    client.set_function("shift", shift)
    assert "def shift(array, by)" in client.get_script("shift")
    found = client.infer_script("shift", "shift", [np.arange(3), np.array(-2)])
    assert [item.tolist() for item in found] == [[-2, -1, 0], 2]
    client.put_tensor("a", np.arange(3))
    client.run_script("shift", "shift", ["a", "a"], ["b", "c"])
    assert client.get_tensor("b").tolist() == [0, 2, 4]
    with pytest.raises(RedisRuntimeError, match="the script has no function 'other'"):
        client.infer_script("shift", "other", np.arange(3))
    client.set_source("bad", "def f(x):\n    return x['a']\n", "PYTHON")
    with pytest.raises(RedisRuntimeError, match="only integers"):
        client.infer_script("bad", "f", np.arange(3))
    client.delete_script("shift")
    assert not client.script_exists("shift")


def test_what_cannot_be_a_function_is_refused(client):
    for bad in (lambda x: x, len, "x", np.add):
        with pytest.raises(InputTypeError, match="it must be one that `def` has made"):
            client.set_function("f", bad)
    space: dict[str, object] = {}
    exec("def typed(x): return x", space)
    with pytest.raises(InputError, match="whose source is nowhere"):
        client.set_function("f", space["typed"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "PICKLE"}, "backend is 'PICKLE': it must be one of TORCH, ONNX, TF, TFLITE"),
        ({"model": b""}, "model is empty"),
        ({"device": "GPU:x"}, "it must be CPU, GPU or GPU:number"),
        ({"backend": "TF"}, "inputs and outputs must name the nodes"),
        ({"inputs": "x"}, "inputs and outputs are for TF only"),
        ({"batch_size": -1}, "batch_size=-1 is not allowed"),
        ({"batch_size": 2, "min_batch_size": 3}, "min_batch_size=3 is not allowed"),
        ({"name": ""}, "name is empty"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(client, changes, said):
    with pytest.raises(InputError, match=said):
        client.set_model(**{"name": "m", "model": b"x", "backend": "ONNX", **changes})
    with pytest.raises(InputError, match="No such file"):
        client.set_model_from_file("m", "/no/such/file", "ONNX")


def test_many_callers_share_batches(client, connect, uds_lab):
    client.set_model(
        "batched", MLP, "ONNX", batch_size=64, min_batch_size=6, min_batch_timeout=60_000
    )
    began = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: client.infer("batched", ROWS[n % 3][None])[0], range(6)))
    for number, item in enumerate(found):
        close(item, RESULT[number % 3][None])
    # Nobody waited for the time-out: the sixth request completed the batch.
    assert time.monotonic() - began < 60


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


def deadly(path: Path, times: int) -> str:
    """Return a function that kills its worker until it has done so `times` times."""
    return (
        f"def deadly(x):\n    import os, pathlib, signal\n    path = pathlib.Path({str(path)!r})\n"
        f"    path.open('a').write('x')\n    if len(path.read_text()) <= {times}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n    return x + 1\n"
    )


def test_a_request_outlives_the_worker_that_it_was_sent_to(own_lab, connect, tmp_path):
    own_lab.begin("w0")
    own_lab.start("w1")
    client = connect(own_lab)
    until(lambda: len(workers.listed(client._router)) == 2, "two workers on the list")
    client.set_source("once", deadly(tmp_path / "once", 1), "PYTHON")
    assert client.infer_script("once", "deadly", np.arange(2))[0].tolist() == [1, 2]
    ended = until(
        lambda: [name for name, one in own_lab.workers.items() if one.poll() is not None],
        "the end of the worker",
    )
    own_lab.start(ended[0])
    client.set_source("always", deadly(tmp_path / "always", 9), "PYTHON")
    with pytest.raises(RedisRuntimeError, match="two model workers ended while they worked"):
        client.infer_script("always", "deadly", np.arange(2))
    assert (tmp_path / "always").read_text() == "xx"


def test_a_queued_request_outlives_its_worker_once(own_lab, connect, tmp_path):
    client = connect(own_lab)
    own_lab.start()
    for name, times, tried in (("once", 1, "xx"), ("always", 9, "xx")):
        client.set_source(name, deadly(tmp_path / name, times), "PYTHON")
        client.put_tensor("in", np.arange(2))
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(client.run_script, name, "deadly", "in", name, durable=True)
            while not future.done():
                # Its first act is to take up the request, so it may end before it says it is ready.
                if own_lab.workers["w0"].poll() is not None:
                    own_lab.begin()
                time.sleep(0.01)
        assert (tmp_path / name).read_text() == tried
        if name == "once":
            future.result()
            assert client.get_tensor("once").tolist() == [1, 2]
        else:
            with pytest.raises(RedisRuntimeError, match="2 model workers ended"):
                future.result()


def test_a_run_that_takes_too_long_is_given_up(own_lab, connect):
    own_lab.start()
    client = connect(own_lab, SR_MODEL_TIMEOUT="300")
    client.set_source("slow", "def slow(x):\n    import time\n    time.sleep(600)\n", "PYTHON")
    with pytest.raises(RedisTimeoutError, match=r"did not answer within 0\.3 s"):
        client.infer_script("slow", "slow", np.arange(2))
    # The worker itself begins anew when a run does not come to an end.
    until(lambda: own_lab.workers["w0"].poll() is not None, "the worker's end")
    assert "a run does not come to an end" in own_lab.log()


def test_inputs_beyond_the_limit_are_refused_and_the_connection_lives_on(own_lab, connect):
    own_lab.start("w0", "--max-request", "100000")
    client = connect(own_lab)
    client.set_source("same", "def same(x):\n    return x\n", "PYTHON")
    with pytest.raises(RedisRuntimeError, match=r"has 800000 bytes of inputs, above .* of 100000"):
        client.infer_script("same", "same", np.zeros(100_000))
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


def test_an_idle_worker_uses_no_cpu(uds_lab, client):
    client.set_model("mlp", MLP, "ONNX")
    client.infer("mlp", ROWS)
    stat = Path(f"/proc/{uds_lab.workers['w0'].pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    # The window is what is measured, not something that is waited for.
    before, window = ticks(), threading.Event()
    window.wait(1.0)
    assert ticks() - before <= 0.02 * os.sysconf("SC_CLK_TCK")


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
