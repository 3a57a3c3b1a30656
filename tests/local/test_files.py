"""Attached files: what generate and start put into a run directory, and what they refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hpcorch import TaskState
from hpcorch.errors import InputError, InputTypeError
from tests.helpers import bash_model, directory, output


@pytest.fixture
def sources(tmp_path):
    """A directory `in` with text, a binary file, links, and directories in it."""
    top = tmp_path / "in"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "run.sh").write_text("echo ;what; ;5; ;;\n")
    (top / "run.sh").chmod(0o754)
    (top / "deep" / "er" / "grid.nml").write_text("&grid n=;n;, m=;n;;m; /\r\n;un\nclosed;")
    (top / "deep" / "data.bin").write_bytes(b"\0;n;")
    (top / "data.link").symlink_to("deep/data.bin")
    (top / "nowhere").symlink_to("missing")
    (top / "folder").symlink_to("deep")
    return top


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def model(exp):
    found = bash_model(exp, "m", "bash run.sh")
    found.params.update({"what": "it's $HOME", "n": "7"})
    return found


def test_markers_are_replaced_and_everything_else_stays(exp, model, sources, capsys):
    model.attach_generator_files(to_configure=str(sources))
    exp.generate(model)
    where = directory(exp, model)
    assert (where / "run.sh").read_text() == "echo it's $HOME 5 ;;\n"
    assert mode(where / "run.sh") == 0o754
    assert (where / "deep/er/grid.nml").read_bytes() == b"&grid n=7, m=7m /\r\n;un\nclosed;"
    assert (where / "deep/data.bin").read_bytes() == b"\0;n;"
    assert (where / "data.link").read_bytes() == b"\0;n;"
    assert (where / "nowhere").readlink() == Path("missing")
    assert (where / "folder").readlink() == Path("deep")
    assert (
        "markers of m that no parameter names keep their text: '5', 'm'" in capsys.readouterr().out
    )


def test_parameters_that_no_file_uses_are_named(exp, model, sources, capsys):
    model.attach_generator_files(to_configure=[str(sources / "run.sh")])
    exp.generate(model)
    assert "params of m are in none of its configured files: 'n'" in capsys.readouterr().out


def test_copies_and_links(exp, model, sources, monkeypatch):
    monkeypatch.chdir(sources.parent)
    (sources / "sealed").write_text("x;n;")
    (sources / "sealed").chmod(0o400)
    model.attach_generator_files(["in/deep", "in/sealed"], "in", "in/run.sh")
    exp.generate(model)
    where = directory(exp, model)
    assert (where / "data.bin").read_bytes() == b"\0;n;"
    assert (where / "er/grid.nml").read_bytes() == (sources / "deep/er/grid.nml").read_bytes()
    assert (where / "sealed").read_text() == "x;n;"
    assert mode(where / "sealed") == 0o400
    assert (where / "in").readlink() == sources


@pytest.mark.parametrize("field", ["to_copy", "to_configure"])
def test_empty_folders_and_links_that_lead_out_arrive(exp, model, tmp_path, field):
    for folder in ("in/restart/day", "in/logs", "in/results", "more/results", "shared"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "in/file").touch()
    (tmp_path / "more/results/old").touch()
    (tmp_path / "shared/grid").write_text("g")
    (tmp_path / "in/data").symlink_to("../shared")
    model.attach_generator_files(**{field: [tmp_path / "in", tmp_path / "more"]})
    exp.start(model)
    where = directory(exp, model)
    assert list((where / "restart/day").iterdir()) == []
    assert [path.name for path in (where / "results").iterdir()] == ["old"]
    assert (where / "data/grid").read_text() == "g"
    (tmp_path / "more/restart").touch()
    with pytest.raises(InputError, match="two attached files of m are to be at restart"):
        exp.generate(model, overwrite=True)


def test_a_file_that_is_copied_and_configured_is_configured(exp, model, sources):
    model.attach_generator_files(to_copy=str(sources), to_configure=str(sources / "run.sh"))
    exp.generate(model, tag=";")
    assert (directory(exp, model) / "run.sh").read_text() == "echo it's $HOME 5 ;;\n"
    assert b";n;" in (directory(exp, model) / "deep/er/grid.nml").read_bytes()


def test_other_markers(exp, model, tmp_path):
    (tmp_path / "f").write_text("@@n@@ ;n; @n@ @@n@@n@@")
    model.attach_generator_files(to_configure=str(tmp_path / "f"))
    exp.generate(model, tag="@@")
    assert (directory(exp, model) / "f").read_text() == "7 ;n; @n@ 7n@@"
    for tag, kind in (("", InputError), ("a\n", InputError), (5, InputTypeError)):
        with pytest.raises(kind, match="tag is "):
            exp.generate(model, tag=tag, overwrite=True)


def test_the_parameters_are_written_down(exp, model, sources):
    exp.generate(model)
    record = json.loads((directory(exp, model) / "hpcorch_params.json").read_text())
    assert record["params"] == {"what": "it's $HOME", "n": "7"}
    assert (record["name"], record["to_configure"]) == ("m", [])


def test_start_generates_what_is_not_there_and_leaves_what_is(exp, model, sources):
    model.params["what"] = "hello"
    (sources / "run.sh").write_text("echo ;what; ;5;\n")
    model.attach_generator_files(to_configure=str(sources / "run.sh"))
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]
    assert output(exp, model) == "hello 5\n"
    # The user's own changes survive, until the description changes.
    edited = directory(exp, model) / "run.sh"
    edited.write_text("echo edited")
    exp.start(model)
    assert output(exp, model) == "edited\n"
    model.params["what"] = "again"
    exp.start(model)
    assert output(exp, model) == "again 5\n"


def test_start_takes_sources_that_were_changed_and_leaves_copies_that_were(exp, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/data").write_text("old")
    (tmp_path / "script").write_text("cat data ;x;\n")
    model = bash_model(exp, "m", "cat script data")
    model.params["x"] = "1"
    model.attach_generator_files([tmp_path / "in"], None, [tmp_path / "script"])
    exp.start(model)
    where = directory(exp, model)
    (where / "data").write_text("the program's own")
    exp.start(model)
    assert output(exp, model) == "cat data 1\nthe program's own"
    (tmp_path / "script").write_text("cat -n data ;x;\n")
    exp.start(model)
    assert output(exp, model) == "cat -n data 1\nold"
    (tmp_path / "in/data").write_text("newer")
    exp.start(model)
    assert output(exp, model) == "cat -n data 1\nnewer"
    (tmp_path / "script").unlink()
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]


def test_generating_twice_is_refused_unless_it_is_said(exp, model, sources):
    model.attach_generator_files(to_symlink=str(sources / "deep"))
    exp.generate(model)
    with pytest.raises(InputError, match="holds an earlier run of m"):
        exp.generate(model)
    # What was a link becomes a directory of its own: nothing is written through the link.
    copies = sources.parent / "copies" / "deep"
    copies.mkdir(parents=True)
    (copies / "data.bin").write_text("new")
    model.attach_generator_files(to_copy=str(copies.parent))
    exp.generate(model, overwrite=True)
    assert (directory(exp, model) / "deep/data.bin").read_text() == "new"
    assert (sources / "deep/data.bin").read_bytes() == b"\0;n;"


@pytest.mark.parametrize("field", ["to_copy", "to_symlink", "to_configure"])
@pytest.mark.parametrize("call", ["generate", "start"])
def test_a_missing_source_is_refused_before_anything_is_written(exp, model, field, call, tmp_path):
    good = bash_model(exp, "good", "true")
    (tmp_path / "there").touch()
    good.attach_generator_files(to_copy=str(tmp_path / "there"))
    model.attach_generator_files(**{field: [str(tmp_path / "there"), str(tmp_path / "missing")]})
    with pytest.raises(InputError, match=rf"{field} of m holds '{tmp_path}/missing': there is no"):
        getattr(exp, call)(good, model)
    assert not Path(exp.exp_path).exists()


@pytest.mark.parametrize(
    "taken",
    ["logs", "job.sh", "job.12.sh", "m.out", "hpcorch_params.json", "credentials", "task-table"],
)
def test_names_of_hpcorch_s_own_are_refused(exp, model, tmp_path, taken):
    (tmp_path / taken).touch()
    model.attach_generator_files(to_copy=str(tmp_path / taken))
    with pytest.raises(InputError, match=f"to be at {taken}: hpcorch writes that name itself"):
        exp.generate(model)


def test_what_cannot_be_copied_is_refused(exp, model, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    model.attach_generator_files(to_copy=str(tmp_path / "pipe"))
    with pytest.raises(InputError, match=r"to_copy of m holds .*: it is no ordinary file"):
        exp.generate(model)


def test_two_files_cannot_be_at_the_same_place(exp, model, sources, tmp_path):
    model.attach_generator_files(to_copy=str(sources), to_symlink=str(sources / "deep"))
    with pytest.raises(InputError, match="two attached files of m are to be at deep"):
        exp.generate(model)
    (tmp_path / "run.sh").touch()
    both = [str(tmp_path / "run.sh"), str(sources)]
    for field in ("to_copy", "to_configure"):
        model.attach_generator_files(**{field: both})
        with pytest.raises(InputError, match=f"{field} of m holds .* both are to be at run.sh"):
            exp.generate(model)
    assert not Path(exp.exp_path).exists()


def test_parameters_become_arguments_of_this_model_only(exp):
    settings = exp.create_run_settings("bash", ["-c", 'printf "%s|" "$@"', "_"])
    params = {"n": 7, "long-name": "a b", "x": ""}
    first = exp.create_model("first", settings, params)
    other = exp.create_model("other", settings, params)
    first.params_to_args()
    other.params_to_args(["long-name"])
    with pytest.raises(InputError, match="names holds 'y': the parameters of other are n, long-"):
        other.params_to_args("y")
    exp.start(first, other)
    assert output(exp, first) == "-n|7|--long-name=a b|-x||"
    assert output(exp, other) == "--long-name=a b|"
    assert len(settings.exe_args) == 3


@pytest.mark.parametrize(
    ("value", "kind"), [(5, InputTypeError), ("", InputError), (["a", 5], InputTypeError)]
)
def test_paths_that_are_none_are_refused_by_their_field(model, value, kind):
    for field in ("to_copy", "to_symlink", "to_configure"):
        with pytest.raises(kind, match=rf"^{field}"):
            model.attach_generator_files(**{field: value})
