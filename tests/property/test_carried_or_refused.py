"""Any text is carried through byte for byte, or refused in one sentence before anything exists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcorch import Experiment, Model, Orchestrator, RunSettings
from hpcorch.errors import HpcorchError, InputError, RenderError
from hpcorch.render import FILTERS
from hpcorch.rundir import write_whole
from tests.helpers import TOKEN, database_job, model_job, render

# Writes its arguments and variables as the bytes that the kernel gave it.
ECHO = """
import json, os, sys
with open(sys.argv[1], "w") as stream:
    json.dump([[os.fsencode(word).hex() for word in sys.argv[2:]],
               {name.hex(): value.hex() for name, value in os.environb.items()}], stream)
"""
NASTY = st.sampled_from(
    [
        *("", " ", "'", '"', "$(touch x)", "`id`", "\n", "\\", "*", "~", "-n", "--", "!!", "a=b"),
        *("\t", "HPCORCH_CONF", "EOF", "ü", "目录", "\x01", "\x7f", "\r\n", "{{ x }}", "{% raw %}"),
        *("#", "\\n"),
    ]
)
WORD = st.lists(
    NASTY | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    max_size=5,
).map("".join)
NAME = st.text(
    st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1, max_size=8
).map(lambda text: "T_" + text)
CONTROL = st.sampled_from([chr(code) for code in (*range(1, 32), 127)])


def run_for_real(model: Model) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Render a model's script, run it with bash, and return what its program was given."""
    with tempfile.TemporaryDirectory(prefix="hp it's $odd ", dir=os.environ["HOME_OF_TEST"]) as top:
        where = Path(top)
        facts = where / "facts"
        settings_of_model = RunSettings(
            sys.executable,
            ["-c", ECHO, str(facts), *model.run_settings.exe_args],
            env_vars=model.run_settings.env_vars,
        )
        real = Model(model.name, settings_of_model)
        script = where / "job.sh"
        write_whole(script, render(model_job(real, where, sys.executable)).text, 0o700)
        # As the job's supervisor starts its tasks, without the time that supervising takes.
        done = subprocess.run(
            ["bash", str(script), "--element", "0", "1", TOKEN],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        words, variables = json.loads(facts.read_text())
    return (
        [bytes.fromhex(word) for word in words],
        {bytes.fromhex(name): bytes.fromhex(value) for name, value in variables.items()},
    )


@pytest.fixture(autouse=True)
def home_of_test(tmp_path, monkeypatch, own_surroundings):
    monkeypatch.setenv("HOME_OF_TEST", str(tmp_path))


@settings(max_examples=25)
@given(st.lists(WORD, max_size=40), st.dictionaries(NAME, WORD, max_size=20))
@example(["\udcff\udc80"], {"T_bytes": "\udce9"})
def test_arguments_and_variables_reach_the_program_byte_for_byte(tmp_path, words, variables):
    exp = Experiment("lab", exp_path=tmp_path / "exp")
    settings_of_model = exp.create_run_settings("true", exe_args=words, env_vars=variables)
    got_words, got_variables = run_for_real(exp.create_model("m", settings_of_model))
    assert got_words == [os.fsencode(word) for word in words]
    for name, value in variables.items():
        assert got_variables[os.fsencode(name)] == os.fsencode(value)


@settings(max_examples=5)
@given(st.text(max_size=5), st.sampled_from(["\ud800", "\udfff", "\ud83d"]))
def test_text_that_has_no_bytes_is_refused(before, lonely):
    """Half a surrogate pair cannot be an argument of any program."""
    try:
        model = Model("m", RunSettings("true", [before + lonely]))
        with tempfile.TemporaryDirectory(dir=os.environ["HOME_OF_TEST"]) as top:
            write_whole(Path(top, "job.sh"), render(model_job(model, top, "/bin/true")).text)
    except HpcorchError:
        return
    pytest.fail("the text was neither refused nor can it be carried")


@given(st.text(max_size=5), st.text(max_size=5))
def test_a_nul_byte_is_refused_by_name(before, after):
    text = before + "\0" + after
    with pytest.raises(InputError, match=r"exe_args\[1\]"):
        RunSettings("true", ["x", text])
    with pytest.raises(InputError, match=r"env_vars\['A'\]"):
        RunSettings("true", env_vars={"A": text})


@given(st.text(max_size=5), CONTROL | st.just("\0"), st.text(max_size=5))
def test_control_characters_are_refused_in_directives_and_server_settings(before, char, after):
    text = before + char + after
    for name in ("directive", "conf"):
        with pytest.raises(RenderError):
            FILTERS[name](text)
    with pytest.raises(RenderError):
        FILTERS["conf"](["maxmemory", text])
    with pytest.raises(InputError):
        Orchestrator().set_db_conf("maxmemory-policy", text)
    for field in ("path", "module_paths"):
        value = [text] if field == "module_paths" else text
        with pytest.raises(InputError, match=field):
            Orchestrator(**{field: value})  # type: ignore[arg-type]


@given(st.text(max_size=30))
def test_a_comment_is_always_one_line(text):
    found = FILTERS["comment"](text)
    assert len(found.splitlines()) <= 1
    assert not any(ord(char) < 32 for char in found)


@given(WORD)
def test_a_server_setting_stays_one_directive(value):
    """Whatever it holds, the configuration gets one line for it and nothing is cut off."""
    described = Orchestrator()
    try:
        described.set_db_conf("maxmemory-policy", value)
        job = _planned(described)
        text = render(job).text
    except HpcorchError:
        return
    conf = text.partition("HPCORCH_CONF'\n")[2].partition("\nHPCORCH_CONF\n")[0].split("\n")
    assert sum(line.startswith("maxmemory-policy ") for line in conf) == 1
    assert conf[-1] == "loglevel notice"


def _planned(described: Orchestrator):
    return database_job(described)


BAD = st.one_of(
    WORD.map(lambda text: "a" + text + " "),
    WORD.map(lambda text: "-" + text),
    WORD.map(lambda text: text + "'"),
    WORD.map(lambda text: text + "\n"),
    WORD.map(lambda text: "x$(" + text + ")"),
    WORD.map(lambda text: text + "/.."),
    st.sampled_from(["", ".", "..", "ü", "a" * 65, "a/b", "目录"]),
)


@given(BAD)
def test_bad_names_are_refused_by_field_and_nothing_is_made(name):
    where = Path(os.environ["HOME_OF_TEST"], "exp")
    with pytest.raises(InputError, match=r"^name is "):
        Experiment(name, exp_path=where)
    exp = Experiment("lab", exp_path=where)
    run = exp.create_run_settings("true")
    for field, call in (
        ("db_identifier", lambda: exp.create_database(db_identifier=name)),
        ("name", lambda: exp.create_model(name, run)),
        ("interface", lambda: exp.create_database(interface=name)),
        ("ifname", lambda: Model("m", run).colocate_db_tcp(ifname=name)),
        ("key", lambda: Orchestrator().set_db_conf(name, "1")),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.message.startswith(f"{field} is {name!r}")
    if name:  # A colocated database may be without a name.
        with pytest.raises(InputError, match=r"^db_identifier is "):
            Model("m", run).colocate_db_uds(db_identifier=name)
    assert not where.exists()


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True))
def test_good_names_are_taken(name):
    exp = Experiment("lab", exp_path=Path(os.environ["HOME_OF_TEST"], "exp"))
    assert exp.create_database(db_identifier=name).name == name
    other = "x" if name != "x" else "y"
    assert exp.create_model(other, RunSettings("true")).name == other
    assert Model(name, RunSettings("true")).name == name
