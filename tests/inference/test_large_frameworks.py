"""PyTorch and TensorFlow. `make test-ai` installs them and runs this; `make test` leaves it out."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from hpcorch.client import RedisRuntimeError
from hpcorch.inference import backends
from hpcorch.inference.backends import LoadOptions
from hpcorch.inference.blob import blob_of
from hpcorch.inference.faults import Fault
from tests.inference import models

pytestmark = [pytest.mark.ai, pytest.mark.redis]

ROWS = models.weights(3, 4, seed=5)


def a_module():
    import torch

    class Small(torch.nn.Module):  # type: ignore[misc]
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 2, 3, padding=1)
            self.dense = torch.nn.Linear(2, 3)

        def forward(self, x):
            return self.dense(torch.relu(self.conv(x)).mean((2, 3)))

    torch.manual_seed(0)
    return Small().eval()


def torchscript() -> bytes:
    import torch

    out = io.BytesIO()
    torch.jit.save(torch.jit.script(a_module()), out)
    return out.getvalue()


def exported() -> bytes:
    import torch

    out = io.BytesIO()
    rows = torch.export.Dim("rows", min=1, max=1024)
    program = torch.export.export(
        a_module(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: rows},)
    )
    torch.export.save(program, out)
    return out.getvalue()


@pytest.mark.parametrize("make", [torchscript, exported])
def test_a_torch_model_gives_what_torch_gives(client, make):
    import torch

    images = models.weights(5, 1, 8, 8, seed=1)
    with torch.inference_mode():
        wanted = a_module()(torch.from_numpy(images)).numpy()
    client.set_model("torch", make(), "TORCH")
    np.testing.assert_allclose(client.infer("torch", images)[0], wanted, rtol=1e-4, atol=1e-5)
    client.put_tensor("images", images)
    client.run_model("torch", "images", "scores", durable=True)
    np.testing.assert_allclose(client.get_tensor("scores"), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(RedisRuntimeError, match=r"model torch failed: \w"):
        client.infer("torch", images[:, :, 0, 0])


class Bomb:
    """What runs when somebody unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


def saved_pickle() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(Bomb(), out)
    return out.getvalue()


def saved_legacy() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(Bomb(), out, _use_new_zipfile_serialization=False)
    return out.getvalue()


@pytest.mark.parametrize(
    "make", [saved_pickle, saved_legacy, lambda: pickle.dumps(Bomb()), lambda: b"nonsense"]
)
def test_a_pickle_is_refused_without_being_read(make):
    with pytest.raises(Fault, match="pickled models are refused") as caught:
        backends.get("TORCH").load(blob_of(make()), LoadOptions())
    assert caught.value.kind == "refused"


def rewritten(change) -> bytes:
    """Return the exported program with what `change` makes of its members, a mapping by name."""
    with zipfile.ZipFile(io.BytesIO(exported())) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    return out.getvalue()


def test_a_pickle_inside_an_exported_program_is_refused_without_being_read():
    def hide_object(members):
        base = next(iter(members)).partition("/")[0]
        members[f"{base}/data/constants/opaque_obj_0"] = pickle.dumps(Bomb())

    with pytest.raises(Fault, match="pickled models are refused"):
        backends.get("TORCH").load(blob_of(rewritten(hide_object)), LoadOptions())

    def hide_weights(members):
        for name, data in members.items():
            if name.endswith("weights_config.json"):
                members[name] = data.replace(b'"use_pickle": false', b'"use_pickle": true')
            elif "/data/weights/" in name:
                members[name] = saved_pickle()

    assert b'"use_pickle": true' in rewritten(hide_weights)
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        backends.get("TORCH").load(blob_of(rewritten(hide_weights)), LoadOptions())


SCRIPT = """
def joined(a, b):
    return torch.cat([a, b]), a.sum()
"""


def largest(data):
    return torch.max(data, 1).values  # type: ignore[name-defined]  # noqa: F821


def test_scripts_are_compiled_as_torchscript(client):
    client.set_script("s", SCRIPT)
    found = client.infer_script("s", "joined", [ROWS, ROWS])
    np.testing.assert_array_equal(found[0], np.concatenate([ROWS, ROWS]))
    assert found[1] == pytest.approx(ROWS.sum())
    client.set_function("f", largest)
    np.testing.assert_array_equal(client.infer_script("f", "largest", ROWS)[0], ROWS.max(1))
    with pytest.raises(RedisRuntimeError, match="has no function 'nothing'"):
        client.infer_script("s", "nothing", ROWS)
    client.set_script("bad", "def f(x):\n    return unknown(x)\n")
    with pytest.raises(RedisRuntimeError, match="undefined value unknown"):
        client.infer_script("bad", "f", ROWS)


def frozen_graph() -> bytes:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.nn.relu(x @ tf.constant(models.weights(4, 2)), name="y")
        tf.identity(x, name="same")
    data: bytes = graph.as_graph_def().SerializeToString()
    return data


def test_a_frozen_tensorflow_graph_gives_what_it_should(client):
    wanted = np.maximum(ROWS @ models.weights(4, 2), 0)
    client.set_model("tf", frozen_graph(), "TF", inputs="x", outputs=["y", "same:0"])
    found = client.infer("tf", ROWS)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[1], ROWS)
    client.set_model("tf2", frozen_graph(), "TF", inputs=["x"], outputs=["z"])
    with pytest.raises(RedisRuntimeError, match="the graph has no node 'z'"):
        client.infer("tf2", ROWS)
    client.set_model("tf3", b"no graph", "TF", inputs=["x"], outputs=["y"])
    with pytest.raises(RedisRuntimeError, match="no frozen TensorFlow graph"):
        client.infer("tf3", ROWS)


def test_both_are_counted_among_the_frameworks():
    found = backends.frameworks()
    assert found["TORCH"].startswith("torch 2.")
    assert found["TF"].startswith("tensorflow 2.")
    assert str(backends.get("TF").devices()[0]) == "CPU"
