"""The version of a model or script: what its contents are, wherever it lies."""

from __future__ import annotations

import pytest

from tests.module.test_running import started

pytestmark = pytest.mark.redis


def test_equal_contents_have_the_same_version_wherever_they_are(server):
    ask = started(server)
    options = ("TAG", "t", "BATCHSIZE", 4, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 9)
    names = ("INPUTS", 2, "a", "b", "OUTPUTS", 1, "c")
    ask.execute_command("AI.MODELSTORE", "n", "TF", "GPU:1", *options, *names, "BLOB", "ab", "c")
    found = ask.execute_command("HPCORCH.PROGRAM", "n", "CONTENT")
    assert found[0] == b"MODEL"
    assert found[2:] == [b"TF", b"GPU:1", b"t", 4, 2, 9, [b"a", b"b"], [b"c"], 3, b"abc"]
    assert ask.execute_command("HPCORCH.PROGRAM", "n") == [*found[:-1], None]
    script = ask.execute_command("HPCORCH.PROGRAM", "s", "CONTENT")
    assert script[2:] == [b"", b"CPU", b"", 0, 0, 0, [], [], 13, b"def f(): pass"]
    for key, whole in (("n", found), ("s", script)):
        assert ask.memory_usage(key) > 100
        ask.copy(key, "copied")
        ask.rename(key, "renamed")
        ask.restore("restored", 0, ask.dump("renamed"))
        for name in ("copied", "renamed", "restored"):
            assert ask.execute_command("HPCORCH.PROGRAM", name, "CONTENT") == whole
        ask.unlink("renamed", "restored")
        ask.delete("copied")
    version = ask.execute_command("HPCORCH.PROGRAM", "m")[1]
    for words in (("ONNX", "CPU", "BLOB", "abd"), ("ONNX", "GPU", "BLOB", "abc")):
        ask.execute_command("AI.MODELSTORE", "m", *words)
        assert ask.execute_command("HPCORCH.PROGRAM", "m")[1] != version
    ask.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "a", "bc")
    assert ask.execute_command("HPCORCH.PROGRAM", "m")[1] == version
    assert ask.execute_command("HPCORCH.PROGRAM", "x") is None
