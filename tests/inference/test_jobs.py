"""Workers and models as part of a database's or a program's own job, on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np
import pytest

from hpcorch import TaskState, Workers
from hpcorch.client import workers as registry
from hpcorch.errors import InputError, StartFailed
from hpcorch.plan.workers import model_files
from tests.helpers import (
    bash_model,
    directory,
    free_port,
    kill,
    output,
    processes,
    python_model,
    until,
)
from tests.inference import models
from tests.local.conftest import debian_server, impatient_clients, node_dir
from tests.local.ranks import CROWDED, use_launchers

__all__ = ["debian_server", "impatient_clients", "node_dir"]

pytestmark = pytest.mark.redis

ROWS = models.weights(3, 64, seed=5)
PROGRAM = """
import numpy as np
from hpcorch import Client
rows = np.random.default_rng(5).normal(0, 0.3, (3, 64)).astype(np.float32)
with Client() as client:
    client.put_tensor("in", rows)
    client.run_model("mlp", "in", "out")
    assert (client.get_tensor("out") == client.infer("mlp", rows)[0]).all()
    twice = client.infer_script("twice", "twice", rows)[0]
    assert (twice == 2 * rows).all()
    print(client.get_tensor("out").sum())
"""


def twice(x):
    return x * 2


def the_sum(text: str) -> float:
    return float(text.rsplit(maxsplit=1)[-1])


def test_files_of_the_program_do_not_take_the_place_of_the_workers_modules(
    exp, tmp_path, monkeypatch
):
    (tmp_path / "queue.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    model = bash_model(exp, "app", "exit 0")
    model.colocate_db_uds(workers=1)
    model.add_ml_model("mlp", "onnx", models.mlp())
    model.attach_generator_files(to_copy=str(tmp_path / "queue.py"))
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")


@pytest.mark.parametrize("transport", ["uds", "tcp"])
def test_a_colocated_program_finds_its_models_loaded(exp, transport, tmp_path):
    model = python_model(exp, "app", PROGRAM)
    if transport == "uds":
        model.colocate_db_uds(workers=Workers(2, threads=1, max_request="10mb"))
    else:
        model.colocate_db_tcp(port=free_port())
    (tmp_path / "mlp.onnx").write_bytes(models.mlp())
    model.add_ml_model("mlp", "onnx", model_path=tmp_path / "mlp.onnx")
    model.add_function("twice", twice, language="PYTHON")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    assert the_sum(output(exp, model)) == pytest.approx(models.mlp_result(ROWS).sum(), rel=1e-3)
    until(lambda: not processes(directory(exp, model)), "the end of all processes")


# A process of a node with two servers: it infers once before SIGTERM and once after it.
RANK = """
import os, signal, sys, time
import numpy as np
from hpcorch import Client
rows = np.random.default_rng(5).normal(0, 0.3, (3, 64)).astype(np.float32)
came = []
signal.signal(signal.SIGTERM, lambda *_: came.append(1))
with Client() as client:
    before = client.infer("mlp", rows)[0]
    open(f"{sys.argv[1]}/up.{os.getpid()}", "w").close()
    while not came:
        time.sleep(0.05)
    after = client.infer("mlp", rows)[0]
    assert (before == after).all()
    # In one piece, also where PYTHONUNBUFFERED is set: lines of several processes get mixed else.
    sys.stdout.write(f"{os.environ['SSDB']} {after.sum()}\\n")
"""


def test_each_server_of_a_node_has_workers_and_models_until_the_last_process_ends(
    exp, node_dir, tmp_path, monkeypatch
):
    use_launchers(tmp_path / "launchers", monkeypatch)
    cpus = sorted(os.sched_getaffinity(0))[:2]
    for number, cpu in enumerate(cpus):
        (tmp_path / f"node{number}").mkdir()
        (tmp_path / f"node{number}" / "cpulist").write_text(f"{cpu}\n")
    monkeypatch.setenv("HPCORCH_TOPOLOGY", str(tmp_path))
    monkeypatch.setenv("OMPI_MCA_odls_base_sigkill_timeout", "5")
    settings = exp.create_run_settings(
        sys.executable, ["-c", RANK, str(node_dir)], "mpirun", CROWDED
    )
    settings.set_tasks(2)
    model = exp.create_model("app", settings)
    model.colocate_db_uds(per="numa", workers=Workers(cpus=[0]))
    model.add_ml_model("mlp", "ONNX", models.mlp())
    exp.start(model, block=False)
    until(lambda: len(list(node_dir.glob("up.*"))) == 2, "the start of both processes")
    serving = worker_processes(exp, model)
    placed = sorted(next(iter(os.sched_getaffinity(pid))) for pid in serving)
    assert placed == cpus
    # Batch systems signal every process of a job.
    for pid in serving:
        os.kill(pid, signal.SIGTERM)
    exp.stop(model)
    said = sorted(output(exp, model).split())
    assert len(said) == 4, output(exp, model, "err")
    assert len({word for word in said if word.startswith("unix:")}) == 2
    logs = {
        path.name.partition(".numa")[2]: path.read_text()
        for path in (directory(exp, model) / "logs").iterdir()
    }
    assert {f"{n}.worker.0.log" for n in range(2)} | {f"{n}.models.log" for n in range(2)} < set(
        logs
    )
    assert not any("is started again" in text for text in logs.values())
    until(lambda: not processes(directory(exp, model)), "the end of all processes")
    assert list(node_dir.glob("hpcorch.*")) == []


def test_models_of_a_cluster_are_there_when_it_answers(exp):
    # One of the CPUs that this process may use, which is not the first.
    cpus = sorted(os.sched_getaffinity(0))
    workers = Workers(cpus=[len(cpus) - 1])
    database = exp.create_database(db_nodes=3, port=free_port(3), interface="lo", workers=workers)
    database.add_ml_model("mlp", "ONNX", models.mlp(), batch_size=8)
    exp.start(database)
    with database.client() as client:
        assert len(registry.listed(client._router)) == 3
        serving = worker_processes(exp, database)
        assert [os.sched_getaffinity(pid) for pid in serving] == [{cpus[-1]}] * 3
        np.testing.assert_allclose(
            client.infer("mlp", ROWS)[0], models.mlp_result(ROWS), rtol=1e-4, atol=1e-5
        )
    # A program may bring models of its own to it.
    program = python_model(exp, "app", PROGRAM)
    program.add_function("twice", twice, language="PYTHON")
    exp.start(program)
    assert exp.get_status(program) == [TaskState.COMPLETED]
    exp.stop()
    until(lambda: not processes(directory(exp, database)), "the end of all processes")


def test_members_of_an_ensemble_find_the_models_that_it_brings(exp):
    database = exp.create_database(port=free_port(), workers=1)
    exp.start(database)
    settings = exp.create_run_settings(sys.executable, ["-c", PROGRAM])
    ensemble = exp.create_ensemble("many", run_settings=settings, replicas=3)
    ensemble.add_ml_model("mlp", "ONNX", models.mlp())
    ensemble.add_function("twice", twice, language="PYTHON")
    ensemble.disable_key_prefixing()
    ensemble[2].add_function("own", twice, language="PYTHON")
    with pytest.raises(InputError, match="a script of that name is attached already"):
        ensemble.add_function("own", twice, language="PYTHON")
    exp.start(ensemble)
    assert set(exp.get_status(ensemble)) == {TaskState.COMPLETED}, [
        path.read_text() for path in (directory(exp, ensemble) / "logs").glob("*.err")
    ]
    with database.client() as client:
        assert client.script_exists("own")


def test_a_worker_that_crashes_is_started_again(exp):
    database = exp.create_database(port=free_port(), workers=1)
    exp.start(database)
    with database.client() as client:
        client.set_model("mlp", models.mlp(), "ONNX")
        first = client.infer("mlp", ROWS)[0]
        worker = next(pid for pid, words in worker_processes(exp, database).items())
        kill(worker)
        np.testing.assert_array_equal(client.infer("mlp", ROWS)[0], first)
        until(
            lambda: set(worker_processes(exp, database)) - {worker}, "the successor of the worker"
        )
    log = next((directory(exp, database) / "logs").glob("*.worker.0.log"))
    assert "model worker 0 ended with exit code 137 and is started again" in log.read_text()


def worker_processes(exp, entity) -> dict[int, str]:
    found = processes(directory(exp, entity))
    return {
        pid: words
        for pid, words in found.items()
        if "hpcorch.inference serve" in words and words.startswith(sys.executable)
    }


def test_a_model_that_cannot_be_loaded_fails_the_start_with_the_reason(exp):
    database = exp.create_database(port=free_port(), workers=1)
    database.add_ml_model("broken", "ONNX", b"nonsense")
    with pytest.raises(
        StartFailed, match=r"models could not be loaded: .*'broken' cannot be loaded"
    ):
        exp.start(database)
    until(lambda: not processes(directory(exp, database)), "the end of all processes")


def test_a_framework_that_is_missing_is_refused_before_anything_starts(exp, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"ONNX": "onnxruntime 1", "TORCH": ""}\'\n')
    python.chmod(0o700)
    monkeypatch.setenv("HPCORCH_PYTHON", str(python))
    exp = type(exp)("other", exp_path=exp.exp_path)
    database = exp.create_database(workers=Workers(frameworks="torch"))
    with pytest.raises(InputError, match=r"need TORCH: .*/python has no torch"):
        exp.start(database)
    python.write_text("#!/bin/sh\necho 'No module named hpcorch' >&2\nexit 1\n")
    with pytest.raises(InputError, match="cannot run model workers: No module named hpcorch"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_what_cannot_be_attached_is_refused(exp, tmp_path):
    model = python_model(exp, "app", "")
    for arguments, said in (
        ({}, "give either model or model_path"),
        ({"model": b"x", "model_path": "y"}, "give either model or model_path"),
        ({"model_path": tmp_path / "none"}, "there is no such readable file"),
        ({"model": b"x", "devices_per_node": 2}, "there is only one device CPU"),
        ({"model": b"x", "first_device": 1}, "first_device is 1: there is only one device CPU"),
        ({"model": b"x", "device": "GPU:1", "devices_per_node": 2}, "only one device GPU:1"),
    ):
        with pytest.raises(InputError, match=said):
            model.add_ml_model("m", "ONNX", **arguments)
    model.add_ml_model("m", "ONNX", b"x", device="GPU", first_device=2)
    assert model.attachments[0].options["device"] == "GPU:2"
    model.add_ml_model("n", "ONNX", b"x", device="GPU", devices_per_node=3, first_device=1)
    assert model.attachments[1].options["devices"] == ["GPU:1", "GPU:2", "GPU:3"]
    with pytest.raises(InputError, match="a model of that name is attached already"):
        model.add_ml_model("m", "ONNX", b"x")
    with pytest.raises(InputError, match="is told of 0 databases"):
        exp.preview(model)
    with pytest.raises(InputError, match="count is 0: it must be a whole number from 1"):
        Workers(0)
    with pytest.raises(InputError, match="workers is -1: it must be a whole number from 0"):
        exp.create_database(workers=-1)


def test_the_list_of_models_holds_what_was_said(exp):
    database = exp.create_database(workers=1)
    database.add_script("s", "def f(x):\n    return x\n")
    files = {file.path: file.data for file in model_files(database.attachments)}
    folder = list(files)[-1].removesuffix("/list.json")
    assert files[f"{folder}/0.script"].startswith(b"def f")
    wanted = {"kind": "script", "name": "s", "file": "0.script", "language": "TORCHSCRIPT"}
    assert json.loads(files[f"{folder}/list.json"]) == [
        {**wanted, "device": "CPU", "devices": ["CPU"]}
    ]
