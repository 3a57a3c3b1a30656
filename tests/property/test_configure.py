"""Markers in input files: Python and bash replace the same ones, byte for byte."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcorch.paths import templates_dir
from hpcorch.plan.configure import configure

SCRIPT = """
set -euo pipefail
source "$1"
HPCORCH_MARKER=$2 source=$3 target=$4
declare -A HPCORCH_PARAMS
shift 4
while (($#)); do
  HPCORCH_PARAMS[$1]=$2
  shift 2
done
hpcorch_configure "$source" "$target"
"""
MARKER = st.sampled_from([";", "@", "@@", "%", "ab", "*", "[", "\\", "$", "ü", "aba"])
PIECE = st.sampled_from(
    [
        *("", "a", "b", "x", "step", "@", "*", "]", "[", "$x", "`id`", "'", '"', "\\", "\\n", " "),
        *("\t", "\r", "ü", "\x01", "\x7f", "\udce9", "-", "!", "&", "~", "%s", "#"),
    ]
)
NAME = st.lists(PIECE, min_size=1, max_size=3).map("".join).filter(bool)
VALUE = st.lists(PIECE | st.just("\n"), max_size=3).map("".join)
LINE = st.lists(st.tuples(st.booleans(), PIECE), max_size=12)


def text(marker: str, lines: list[list[tuple[bool, str]]], *, ends: bool) -> bytes:
    """Write pieces with the marker before those that want one."""
    written = ["".join((marker if sign else "") + piece for sign, piece in line) for line in lines]
    return ("\n".join(written) + ("\n" if ends else "")).encode("utf-8", "surrogateescape")


def by_bash(data: bytes, params: dict[str, str], marker: str) -> bytes:
    with tempfile.TemporaryDirectory(dir=os.environ["HOME_OF_TEST"]) as top:
        source, target = Path(top, "source"), Path(top, "target")
        source.write_bytes(data)
        source.chmod(0o754)
        library = templates_dir() / "lib/configure.sh"
        words = ["bash", "-c", SCRIPT, "_", str(library), marker, str(source), str(target)]
        words += [word for pair in params.items() for word in pair]
        argv = [os.fsencode(word) for word in words]
        done = subprocess.run(argv, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert target.stat().st_mode & 0o777 == 0o754
        assert sorted(Path(top).iterdir()) == [source, target]
        return target.read_bytes()


@pytest.fixture(autouse=True)
def home_of_test(tmp_path, monkeypatch, own_surroundings):
    monkeypatch.setenv("HOME_OF_TEST", str(tmp_path))


@settings(max_examples=150)
@given(MARKER, st.lists(LINE, max_size=4), st.booleans(), st.dictionaries(NAME, VALUE, max_size=5))
@example(";", [[(True, "a"), (True, "")]], True, {"a": "1\n2"})
@example("@@", [[(True, "@"), (True, "x"), (True, "")]], False, {"@": "1", "x": "2", "*": "3"})
def test_bash_and_python_agree(marker, lines, ends, params):
    data = text(marker, lines, ends=ends)
    assert by_bash(data, params, marker) == configure(data, params, marker).data


@settings(max_examples=10)
@given(st.binary(max_size=30), st.binary(max_size=30))
def test_binary_files_stay_as_they_are(before, after):
    data = before + b";a;\0" + after
    assert configure(data, {"a": "1"}).data == data
    assert by_bash(data, {"a": "1"}, ";") == data


@given(st.binary(max_size=200), MARKER)
def test_a_file_whose_markers_are_never_closed_stays_as_it_is(data, marker):
    sign = marker.encode()
    lines = [line.replace(sign, b"") for line in data.split(b"\n")]
    once = b"\n".join(sign + line.replace(sign, b"") for line in lines)
    if any(line.count(sign) > 1 for line in once.split(b"\n")):
        return
    assert configure(once, {"a": "1"}, marker).data == once
