"""Models of more than a gigabyte: kept whole, loaded and run, with few copies of them.

It takes 8 GiB of memory and 1.3 GB of disk: `make test-ai` runs it, `make test` has small chunks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.inference import models

pytestmark = [pytest.mark.ai, pytest.mark.redis]

GB = 10**9
NEEDED = 8 * 2**30
# Rows of 256 floats, 1.25 GB; row i holds i.
ROWS, WIDTH = 1_220_000, 256
# One chunk on its way to the server, and what varies.
CHUNK = 64 * 2**20
SLACK = 10**8

STORE = r"""
import re, sys
from hpcorch import Client
peak = lambda: int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) * 1024
with Client() as client:
    before = peak()
    client.set_model_from_file("table", sys.argv[1], sys.argv[2])
    stored = peak() - before
    data = client.get_model("table")
    fetched = peak() - before
print(stored, fetched, len(data))
"""
WRITE_TORCHSCRIPT = """
import sys, torch
rows, width = map(int, sys.argv[2:])
table = torch.arange(rows, dtype=torch.float32).repeat_interleave(width).reshape(rows, width)
torch.jit.save(torch.jit.script(torch.nn.Embedding.from_pretrained(table)), sys.argv[1])
"""


@pytest.fixture
def enough_memory() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    if free < NEEDED:
        pytest.skip(f"needs {NEEDED} bytes of memory, {free} are free")


def varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def field(number: int, size: int) -> bytes:
    """Return the beginning of a field of protobuf that holds `size` bytes."""
    return varint(number << 3 | 2) + varint(size)


def write_onnx(path: Path) -> None:
    """Write a model that looks up rows of a table, which is never in memory as a whole.

    Of a message that comes twice protobuf makes one: the second graph has only the table.
    """
    node = helper.make_node("Gather", ["table", "rows"], ["found"])
    rows = helper.make_tensor_value_info("rows", TensorProto.INT64, ["n"])
    graph = helper.make_graph([node], "lookup", [rows], [models.floats("found", "n", WIDTH)])
    opset = [helper.make_opsetid("", 17)]
    begin = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    shape = TensorProto(name="table", dims=[ROWS, WIDTH], data_type=TensorProto.FLOAT)
    size = ROWS * WIDTH * 4
    tensor = shape.SerializeToString() + field(9, size)
    table = field(5, len(tensor) + size) + tensor
    with path.open("wb") as file:
        file.write(begin + field(7, len(table) + size) + table)
        for row in range(0, ROWS, 10_000):
            numbers = np.arange(row, row + 10_000, dtype=np.float32)
            file.write(np.repeat(numbers, WIDTH).tobytes())


def write_torchscript(path: Path) -> None:
    words = [sys.executable, "-c", WRITE_TORCHSCRIPT, str(path), str(ROWS), str(WIDTH)]
    subprocess.run(words, check=True)


def memory(pid: int, what: str) -> int:
    """Return VmRSS, what a process has in memory, or VmHWM, the most that it had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


@pytest.mark.parametrize(("backend", "write"), [("ONNX", write_onnx), ("TORCH", write_torchscript)])
def test_a_model_above_a_gigabyte(
    backend: str, write: Callable[[Path], None], own_lab, connect, enough_memory, tmp_path
):
    path = tmp_path / "model"
    write(path)
    size = path.stat().st_size
    assert size > GB
    words = [sys.executable, "-c", STORE, str(path), backend]
    env = {**os.environ, **own_lab.environment}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stored, fetched, length = map(int, done.stdout.split())
    assert length == size
    assert stored < CHUNK + SLACK
    assert fetched < size + SLACK
    worker = own_lab.start()
    client = connect(own_lab)
    rows = np.array([0, 777_777, ROWS - 1])
    found = client.infer("table", rows)[0]
    np.testing.assert_array_equal(found, np.repeat(rows.astype(np.float32), WIDTH).reshape(3, -1))
    # Besides the framework's own; the bytes from the database are in a file in memory meanwhile.
    assert memory(worker.pid, "VmHWM") < 2.1 * size + 5 * SLACK
    assert memory(worker.pid, "VmRSS") < size + 5 * SLACK
