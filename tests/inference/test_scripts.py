"""Functions in the database, run by workers on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from hpcorch.client import RedisRuntimeError
from hpcorch.client.functions import function_source
from hpcorch.errors import InputError, InputTypeError
from tests.inference.conftest import Lab
from tests.module.conftest import module_path
from tests.redis.conftest import running

pytestmark = pytest.mark.redis


def shift(array, by):
    return array + by, np.abs(by)


def largest_rows(data):
    return data.max(1)[0]


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


def test_a_function_tells_its_language_or_is_told(client):
    assert function_source(shift)[1] == "PYTHON"
    # This gives one thing in PyTorch, as SmartRedis programs mean it, and another in numpy.
    assert function_source(largest_rows)[1] == "TORCHSCRIPT"
    with pytest.raises(InputTypeError, match="language is 'BASIC': it must be one of TORCHSCRIPT"):
        client.set_function("f", largest_rows, language="BASIC")
    client.set_function("f", largest_rows, language="PYTHON")
    found = client.infer_script("f", "largest_rows", np.array([[1, 2], [3, 4]]))
    assert found[0].tolist() == 2


def test_what_cannot_be_a_function_is_refused(client):
    for bad in (lambda x: x, len, "x", np.add):
        with pytest.raises(InputTypeError, match="it must be one that `def` has made"):
            client.set_function("f", bad)
    space: dict[str, object] = {}
    exec("def typed(x): return x", space)
    with pytest.raises(InputError, match="whose source is nowhere"):
        client.set_function("f", space["typed"])


def test_a_script_that_ends_its_program_ends_nothing_else(tmp_path, connect):
    source = "import sys\ndef quits(x):\n    sys.exit(3)\ndef same(x):\n    return x\n"
    with running(tmp_path, "--loadmodule", module_path()) as server:
        lab = Lab([server])
        try:
            worker = lab.start()
            client, ask = connect(lab), server.admin()
            client.set_source("both", source, "PYTHON")
            client.put_tensor("in", np.arange(3))
            run = ("AI.SCRIPTRUN", "both")
            for call in (
                lambda name: client.infer_script("both", name, np.arange(3)),
                lambda name: client.run_script("both", name, "in", "out", durable=True),
                lambda name: ask.execute_command(*run, name, "INPUTS", "in", "OUTPUTS", "out"),
            ):
                with pytest.raises(Exception, match="both failed: SystemExit 3"):
                    call("quits")
                call("same")
            assert worker.poll() is None
        finally:
            lab.close()


def test_names_of_other_programs_that_are_no_text(client):
    name = "caf\udce9"
    client.set_source(name, "def same(x):\n    return x\n", "PYTHON")
    assert client.infer_script(name, "same", np.arange(3))[0].tolist() == [0, 1, 2]
    client.delete_script(name)
    assert not client.script_exists(name)
