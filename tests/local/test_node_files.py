"""Files of an ensemble's members that their nodes put in place when they start."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hpcorch import TaskState
from hpcorch.errors import InputError
from tests.helpers import row, tool

# Shows a file of its directory, spoils it, and ends with the code in another one.
SHOW = 'cat run.sh; echo more >>run.sh; exit "$(<code)"'


@pytest.fixture
def sources(tmp_path):
    """Text with markers, modes, a binary file, links, and names that are hard to carry."""
    top = tmp_path / "in"
    (top / "deep" / "e r").mkdir(parents=True)
    (top / "run.sh").write_text("echo ;what; ;5; ;;\n")
    (top / "run.sh").chmod(0o754)
    (top / "deep" / "e r" / "gr\tid\n.nml").write_text("&grid n=;n;, m=;n;;m; /\r\n;un\nclosed;")
    (top / "deep" / "data.bin").write_bytes(b"\0;n;")
    (top / "deep" / "$(x)'\\").write_bytes("ä;ü;\udce9".encode("utf-8", "surrogateescape"))
    (top / "sealed").write_text("x;n;")
    (top / "sealed").chmod(0o400)
    (top / "data.link").symlink_to("deep/data.bin")
    (top / "nowhere").symlink_to("missing")
    (top / "folder").symlink_to("deep")
    (top / "outside").symlink_to("../elsewhere")
    (top / "empty" / "i n").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return top


def ensemble(exp, params, code="exit 0", **facts):
    settings = exp.create_run_settings("bash", ["-c", code])
    return exp.create_ensemble("ens", params, run_settings=settings, **facts)


def inside(directory: Path) -> dict[str, object]:
    """What is in a directory, by path: links as such, files with mode and bytes."""
    found: dict[str, object] = {}
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink():
                found[str(path.relative_to(directory))] = path.readlink()
            elif path.is_file():
                mode = path.stat().st_mode & 0o777
                found[str(path.relative_to(directory))] = (mode, path.read_bytes())
            else:
                found[str(path.relative_to(directory))] = path.stat().st_mode & 0o777
    record = json.loads((directory / "hpcorch_params.json").read_text())
    return found | {"hpcorch_params.json": record}


PARAMS = {"what": ["it's $HOME", 'a\n\\t\t"b"'], "n": [7], "ü": ["*"], "@": ["]"]}


@pytest.mark.parametrize("marker", [";", "e"])
def test_a_node_leaves_what_generate_leaves(new_experiment, sources, tmp_path, marker):
    (tmp_path / "several").mkdir()
    for number in range(450):
        (tmp_path / "several" / f"f{number}").write_text(str(number))
    found = []
    for on_node in (False, True):
        exp = new_experiment(tmp_path / f"exp{on_node}")
        made = ensemble(exp, PARAMS)
        made.attach_generator_files(
            [str(tmp_path / "several"), str(sources)],
            [str(tmp_path / "several")],
            [str(sources / "deep"), str(sources / "run.sh")],
            on_node=on_node,
        )
        exp.generate(made, tag=marker)
        where = Path(exp.exp_path, "ens")
        if on_node:
            assert sorted(path.name for path in where.iterdir()) == ["hpcorch_params.json", "logs"]
        exp.start(made)
        assert exp.get_status(made) == [TaskState.COMPLETED] * 2
        for number in range(2):
            for ending in ("out", "err"):
                (where / f"ens_{number}" / f"ens_{number}.{ending}").unlink()
        found.append([inside(where / f"ens_{number}") for number in range(2)])
    assert found[0] == found[1]
    assert len(found[0][0]) > 450


def test_what_cannot_be_had_ends_the_member_which_can_run_again(exp, sources, tmp_path):
    """The first member takes a source away from the second, whose program never starts."""
    moved = tmp_path / "moved"
    (sources / "code").write_text("0")
    take = f'{SHOW}; [[ -e {moved} ]] || mv -- "{sources}/run.sh" {moved}'.replace("exit", "test")
    made = ensemble(exp, {"what": ["x", "y", "z"]}, take, max_running=1)
    made.attach_generator_files(to_configure=str(sources), on_node=True)
    exp.start(made)
    assert [str(state) for state in exp.get_status(made)] == ["Completed", "Failed", "Failed"]
    assert row(exp, "ens_1")["Returncode"] == "66"
    record = json.loads(Path(exp.exp_path, "ens/exit/1").read_text())
    said = f"its input files could not be put in place: there is no readable file {sources}/run.sh"
    assert record["reason"] == said
    assert f"error: {said}" in Path(exp.exp_path, "ens/ens_1/ens_1.err").read_text()
    assert Path(exp.exp_path, "ens/ens_1/ens_1.out").read_text() == ""
    moved.rename(sources / "run.sh")
    moved.touch()
    exp.start(made, only="failed")
    assert exp.get_status(made) == [TaskState.COMPLETED] * 3
    shown = [Path(exp.exp_path, f"ens/ens_{n}/ens_{n}.out").read_text() for n in range(3)]
    assert shown == [f"echo {name} 5 ;;\n" for name in "xyz"]


def test_every_start_puts_them_in_place_anew(exp, sources):
    (sources / "code").write_text("3")
    made = ensemble(exp, {"what": ["x"]}, SHOW)
    made.attach_generator_files(to_copy=str(sources / "missing"), on_node=True)
    with pytest.raises(InputError, match=r"to_copy of ens holds .*missing': there is no such file"):
        exp.start(made)
    made.attach_generator_files(
        to_copy=[str(sources / name) for name in ("run.sh", "code")], on_node=True
    )
    exp.start(made)
    assert row(exp, "ens_0")["Returncode"] == "3"
    (sources / "run.sh").write_text("new\n")
    (sources / "code").write_text("0")
    exp.start(made, only="failed")
    assert exp.get_status(made) == [TaskState.COMPLETED]
    assert Path(exp.exp_path, "ens/ens_0/ens_0.out").read_text() == "new\n"
    assert (sources / "run.sh").read_text() == "new\n"


def test_nothing_is_written_through_a_link(exp, sources, tmp_path):
    made = ensemble(exp, None, replicas=1)
    made.attach_generator_files(str(sources), None, [str(sources / "deep")], on_node=True)
    where = Path(exp.exp_path, "ens/ens_0")
    where.mkdir(parents=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else/file").write_text("mine")
    (where / "deep").symlink_to(tmp_path / "else")
    (where / "run.sh").symlink_to(tmp_path / "else/file")
    (where / "sealed").symlink_to(tmp_path / "else")
    (where / "data.bin").symlink_to(tmp_path / "else/file")
    exp.start(made)
    assert exp.get_status(made) == [TaskState.COMPLETED]
    assert not any((where / name).is_symlink() for name in ("deep", "run.sh", "sealed", "data.bin"))
    assert inside_plain(tmp_path / "else") == {"file": "mine"}
    (where / "nowhere").unlink()
    (where / "nowhere").mkdir()
    exp.start(made)
    assert row(exp, "ens_0", 1)["Returncode"] == "66"
    reason = json.loads(Path(exp.exp_path, "ens/exit/0").read_text())["reason"]
    assert "ens_0/nowhere: cannot overwrite directory" in reason


def inside_plain(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_members_without_files_write_their_parameters_down_and_without_any_nothing(exp):
    made = ensemble(exp, {"a": [1.5, 2]})
    made.add_model(exp_model(exp))
    exp.start(made)
    where = Path(exp.exp_path, "ens")
    record = json.loads((where / "ens_1/hpcorch_params.json").read_text())
    assert (record["name"], record["params"], record["to_copy"]) == ("ens_1", {"a": "2"}, [])
    assert (where / "ens_1/hpcorch_params.json").stat().st_mode & 0o777 == 0o600
    assert not (where / "given/hpcorch_params.json").exists()


def exp_model(exp):
    from hpcorch import Model

    return Model("given", exp.create_run_settings("true"))


def test_what_members_do_not_use_is_said_once_before_they_start(exp, sources, capsys):
    made = ensemble(exp, {"what": ["x", "y"], "unused": [1]})
    made.attach_generator_files(to_configure=str(sources / "run.sh"), on_node=True)
    text = exp.preview(made)
    assert f"\nconfigure\trun.sh\t{sources}/run.sh\t\n" in text
    exp.start(made)
    said = capsys.readouterr().out
    assert said.count("params of ens are in none of its configured files: 'unused'") == 1
    assert said.count("markers of ens that no parameter names keep their text: '5'") == 1


def test_by_hand(sources, tmp_path):
    words = [
        *("render", "ensemble", "heat", "--scheduler", "local", "--param", "what=a b,c"),
        *("--path", "sub/heat"),
        *("--configure", "in/run.sh", "--copy", "in/deep", "--link", "in", "--marker", ";"),
        *("-o", "heat.sh", "--", "bash", "-c", 'cat run.sh; echo "$#"; ls', "_"),
    ]
    subprocess.run([tool("hpcorch"), *words], cwd=tmp_path, capture_output=True, check=True)
    assert list((tmp_path / "sub/heat").iterdir()) == [tmp_path / "sub/heat/task-table"]
    subprocess.run(
        ["bash", str(tmp_path / "heat.sh")], cwd="/", capture_output=True, check=True, timeout=60
    )
    found = (tmp_path / "sub/heat/heat_1/heat_1.out").read_text().splitlines()
    assert found[:2] == ["echo c 5 ;;", "0"]
    assert {"data.bin", "in", "run.sh"} <= set(found[2:])
