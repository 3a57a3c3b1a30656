"""What models give: results, errors, and what happens when they are replaced."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hpcorch.client import RedisBadAllocError, RedisRuntimeError
from hpcorch.client.model_bytes import Filed
from tests.helpers import until
from tests.inference import models
from tests.inference.conftest import Lab
from tests.inference.models import MLP, RESULT, ROWS, close
from tests.inference.test_scripts import shift
from tests.module.conftest import module_path
from tests.redis.conftest import running

pytestmark = pytest.mark.redis


def test_one_model_three_ways(client):
    client.set_model("mlp", MLP, "ONNX")
    close(client.infer("mlp", ROWS)[0])
    client.put_tensor("in", np.asfortranarray(ROWS))
    client.run_model("mlp", "in", ["out"])
    close(client.get_tensor("out"))
    client.run_model("mlp", ["in"], "out2", durable=True)
    close(client.get_tensor("out2"))


def test_outputs_without_names_are_not_lost_in_silence(client):
    client.set_model("mlp", MLP, "ONNX")
    client.put_tensor("in", ROWS)
    for call in (
        lambda: client.run_model("mlp", "in"),
        lambda: client.run_model("mlp", "in", [], durable=True),
    ):
        with pytest.raises(RedisRuntimeError, match=r"1 output\(s\), and 0 names"):
            call()


def test_who_removes_something_does_not_run_it_again(client, monkeypatch):
    client.set_model("gone", MLP, "ONNX")
    client.set_function("shift", shift)
    close(client.infer("gone", ROWS)[0])
    client.infer_script("shift", "shift", [ROWS, ROWS])
    # Word of it has not come to the worker yet.
    monkeypatch.setattr("hpcorch.client.model_store.CHANNEL", b"elsewhere")
    client.delete_model("gone")
    client.delete_script("shift")
    with pytest.raises(RedisRuntimeError, match="no model 'gone'"):
        client.infer("gone", ROWS)
    with pytest.raises(RedisRuntimeError, match="no script 'shift'"):
        client.infer_script("shift", "shift", [ROWS, ROWS])


@pytest.mark.parametrize(
    ("backend", "blob", "rows"),
    [("ONNX", MLP, ROWS), ("TFLITE", models.tflite_dense(), models.weights(2, 4))],
)
def test_inputs_of_the_other_byte_order(client, backend, blob, rows):
    client.set_model("either", blob, backend)
    wanted = client.infer("either", rows)[0]
    swapped = rows.astype(rows.dtype.newbyteorder("S"))
    np.testing.assert_array_equal(client.infer("either", swapped)[0], wanted)
    client.put_tensor("in", swapped)
    client.run_model("either", "in", "out")
    np.testing.assert_array_equal(client.get_tensor("out"), wanted)
    with pytest.raises(TypeError, match="mask would be lost"):
        client.infer("either", np.ma.masked_array(rows))


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
    # What is loaded before that is loaded again.
    until(lambda: "the model kept has changed" in uds_lab.log(), "the news of the model")
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
    assert len(keys_of(client, "chunked:")) == -(-len(MLP) // 5000)
    client.set_model("chunked", MLP[:12_000], "ONNX")
    assert client.get_model("chunked") == MLP[:12_000]
    assert len(keys_of(client, "chunked:")) == 3
    assert client.poll_model("chunked", 1, 1)
    client.delete_model("chunked")
    assert not client.poll_model("chunked", 1, 2)
    with pytest.raises(RedisRuntimeError, match="there is no model 'chunked'"):
        client.get_model("chunked")


def test_a_model_from_a_file_is_stored_chunk_by_chunk(client, tmp_path):
    path = tmp_path / "mlp.onnx"
    path.write_bytes(MLP)
    client.set_model_chunk_size(100_000)
    client.set_model_from_file("filed", path, "ONNX")
    assert client.get_model("filed") == MLP
    close(client.infer("filed", ROWS)[0])
    version = client._inference.store.find("model", "filed").version
    client.set_model_from_file("filed", path, "ONNX")
    assert client._inference.store.find("model", "filed").version == version
    rest = len(MLP) % 100_000
    assert [len(part) for part in Filed(path).parts(100_000)] == [100_000] * 3 + [rest]

    class Shrinking(Filed):
        def parts(self, length):
            return iter([*super().parts(length)][:-1])

    described = client._inference.store.find("model", "filed")
    client.delete_model("filed")
    with pytest.raises(RedisRuntimeError, match="the file of 'filed' changed while it was read"):
        client._store_model(described, Shrinking(path))
    assert keys_of(client, "filed") == []


def keys_of(client, name):
    return client._router.run(b"x", lambda link: link.command(b"KEYS", f"hpcorch:model:{name}*"))


def test_a_model_that_does_not_fit_leaves_nothing_behind(own_lab, connect):
    client = connect(own_lab)
    client.set_model_chunk_size(100_000)
    admin = own_lab.nodes[0].admin()
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 250_000)
    with pytest.raises(RedisBadAllocError):
        client.set_model("mlp", MLP, "ONNX")
    assert keys_of(client, "mlp") == []
    assert not client.model_exists("mlp")


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
