"""Run directories on this machine: odd names, shared ones, those that cannot be used."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hpcorch import Experiment, TaskState
from hpcorch.errors import InputError
from tests.helpers import (
    admin,
    bash_model,
    directory,
    free_port,
    output,
    python_model,
)

pytestmark = pytest.mark.redis


def test_a_directory_that_cannot_be_made_is_refused_in_one_sentence(new_experiment, tmp_path):
    (tmp_path / "file").touch()
    exp = new_experiment(tmp_path / "file" / "exp")
    model = exp.create_model("m", exp.create_run_settings("true"))
    with pytest.raises(InputError, match=r"the directory .* cannot be made"):
        exp.start(model)
    with pytest.raises(InputError, match=r"the directory .* cannot be made"):
        exp.generate(model)


@contextmanager
def not_root():
    """Root may write everywhere, so it acts as nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_is_read_only_is_refused_in_one_sentence(node_dir):
    exp = Experiment("lab", exp_path=node_dir / "exp")
    model = exp.create_model("m", exp.create_run_settings("true"))
    node_dir.chmod(0o555)
    with not_root(), pytest.raises(InputError, match=r"the directory .* cannot be"):
        exp.start(model)


def test_an_experiment_that_others_hide_is_refused_in_one_sentence(node_dir):
    exp = Experiment("lab", exp_path=node_dir / "exp")
    model = exp.create_model("m", exp.create_run_settings("true"))
    Path(exp.exp_path).mkdir(mode=0)
    try:
        with not_root(), pytest.raises(InputError, match=r"journal.jsonl cannot be read: Perm"):
            exp.start(model)
    finally:
        Path(exp.exp_path).chmod(0o700)


ODD = [
    "with space",
    "quote'\"s",
    "$HOME $(id) `id`",
    "ünïcode-目录",
    "-dash",
    "back\\slash",
    "a;b&c",
]


@pytest.mark.parametrize("name", ODD)
def test_any_directory_will_do(new_experiment, tmp_path, name):
    exp = new_experiment(tmp_path / name / "exp")
    database = exp.create_database(port=free_port(), db_identifier="d")
    model = python_model(
        exp,
        "app",
        """
from hpcorch import Client, ConfigOptions
for name in ("d", "near"):
    with Client(ConfigOptions.create_from_environment(name)) as client:
        print(name, client.key_exists("k"))
""",
    )
    model.colocate_db_uds(db_identifier="near", custom_pinning=[])
    exp.start(database, model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    lines = output(exp, model).splitlines()
    assert lines[-2:] == ["d True", "near False"] or lines[-2:] == ["d False", "near False"]
    with database.client() as client:
        client.put_tensor("k", np.zeros(1))
    assert admin(exp, database).dbsize() == 1


def test_generate_makes_directories_and_spares_an_earlier_run(exp):
    model = bash_model(exp, "m", "echo one")
    exp.generate(model)
    assert directory(exp, model).is_dir()
    exp.start(model)
    with pytest.raises(InputError, match="holds an earlier run of m") as caught:
        exp.generate(model)
    assert caught.value.hint == "say overwrite=True"
    assert output(exp, model) == "one\n"
    exp.generate(model, overwrite=True)
    assert not (directory(exp, model) / "exit").exists()


def test_a_program_runs_in_its_own_directory_with_its_own_variables(exp):
    code = 'pwd; echo "$HPCORCH_INDEX $MINE"; umask; tty; cat'
    settings = exp.create_run_settings("/bin/bash", ["-c", code], env_vars={"MINE": 5})
    model = exp.create_model("m", settings)
    exp.start(model)
    lines = output(exp, model).splitlines()
    assert lines == [str(directory(exp, model)), "0 5", lines[2], "not a tty"]


def test_two_entities_cannot_share_a_directory(exp, tmp_path):
    """Each would remove what the other is writing."""
    where = str(tmp_path / "shared")
    exp.create_model("a", exp.create_run_settings("true"), path=where)
    with pytest.raises(InputError, match=r"path of b is .*shared: a of this experiment has it"):
        exp.create_model("b", exp.create_run_settings("true"), path=where)


def test_a_program_may_be_named_from_where_the_driver_is(exp, tmp_path, monkeypatch):
    program = tmp_path / "my program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    model = exp.create_model("m", exp.create_run_settings("./my program"))
    exp.start(model)
    assert output(exp, model) == "found\n"
