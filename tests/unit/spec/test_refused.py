"""What is wrong in a spec file is told by file, table, key, value and what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcorch.errors import InputError
from hpcorch.spec import read_text
from hpcorch.spec.entities import DATABASE_KEYS, ENSEMBLE_KEYS, MODEL_KEYS
from hpcorch.spec.settings import BATCH_KEYS, RUN_KEYS

RUN = 'run_settings = {exe = "sim"}'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "heat.toml describes nothing to start", "a [database.NAME], a [model.NAME]"),
        ("x = ", "the spec file heat.toml is not valid TOML: ", ""),
        ("x = 1", "heat.toml: there is no table or key 'x' here", "known: experiment, database"),
        ("[modle.m]", "heat.toml: there is no table or key 'modle' here", "mean 'model'?"),
        ("model = 5", "heat.toml: model is 5: it must be a table, [model]", ""),
        ("[database]\ndb = 1", "heat.toml: database.db is 1: it must be a table", ""),
        (
            "[database.db]\ndb_node = 3",
            "heat.toml: [database.db] there is no key 'db_node' here",
            "did you mean 'db_nodes'?",
        ),
        (
            "[database.db]\ndb_nodes = 0",
            "heat.toml: [database.db] db_nodes is 0: it must be a whole number from 1 to 16384",
            "",
        ),
        (
            '[database.db]\ndb_nodes = "3"',
            "heat.toml: [database.db] db_nodes is '3', a str: it must be a whole number",
            "",
        ),
        ("[database.'a b']", "heat.toml: [database.a b] db_identifier is 'a b': it must be", ""),
        (
            "[database.db]\ncpus = 0",
            "heat.toml: [database.db] cpus: num is 0: it must be a whole number",
            "",
        ),
        (
            '[database.db]\ntime = "1h"',
            "heat.toml: [database.db] time: walltime is '1h': it must be HH:MM:SS",
            "",
        ),
        (
            '[database.db]\ncustom_pinning = "a"',
            "heat.toml: [database.db] custom_pinning: CPU list 'a' cannot be read",
            "",
        ),
        (
            '[database.db]\nqueue = "a"\nbatch_settings = {queue = "b"}',
            "queue is here, and queue in [database.db.batch_settings]: leave one out",
            "",
        ),
        (
            "[database.db]\nbatch_settings = {batch_args = {exclusive = false}}",
            "[database.db.batch_settings] batch_args.exclusive is false: it must be text",
            "",
        ),
        ("[database.db]\ndb_conf = {a = [1]}", "db_conf.a is [1]: it must be text, a number", ""),
        (
            "[database.db.workers]\ncount = 0",
            "heat.toml: [database.db.workers] count is 0: it must be a whole number",
            "",
        ),
        (
            "[[database.db.add_ml_model]]\nname = 'a'\nbackend = 'ONNX'",
            "heat.toml: [database.db.add_ml_model] model_path is missing",
            "",
        ),
        (
            "[database.db.add_script]\nname = 'a'",
            "heat.toml: [database.db] add_script must be written as [[database.db.add_script]]",
            "",
        ),
        (
            "[[database.db.add_function]]\nname = 'a'\nfunction = 'f'",
            "[database.db.add_function] function is 'f': it must be \"FILE.py:NAME\"",
            "",
        ),
        ("[model.m]", "heat.toml: [model.m] run_settings is missing", "[model.m.run_settings]"),
        (
            "[model.m.run_settings]\ntasks = 2",
            "heat.toml: [model.m.run_settings] exe is missing",
            "",
        ),
        (
            '[model.m.run_settings]\nexe = "sim"\ntasks = 0',
            "heat.toml: [model.m.run_settings] tasks is 0: it must be a whole number from 1",
            "",
        ),
        (
            '[model.m.run_settings]\nexe = "sim"\nhostlist = [""]',
            "heat.toml: [model.m.run_settings] hostlist: host_list is '': it must be",
            "",
        ),
        (
            f"[model.m]\n{RUN}\ncolocate_db_tcp = {{}}\ncolocate_db_uds = {{}}",
            "heat.toml: [model.m] colocate_db_tcp and colocate_db_uds are both here",
            "",
        ),
        (
            f"[model.m]\n{RUN}\ncolocate_db_tcp = {{unix_socket = '/x'}}",
            "heat.toml: [model.m.colocate_db_tcp] there is no key 'unix_socket' here",
            "",
        ),
        (
            f"[model.m]\n{RUN}\ncolocate_db_uds = {{socket_permissions = 800}}",
            "heat.toml: [model.m.colocate_db_uds] socket_permissions is 800",
            "",
        ),
        (
            f"[model.sim]\n{RUN}\n[model.m]\n{RUN}\nregister_incoming_entity = 'smi'",
            "heat.toml: [model.m] register_incoming_entity holds 'smi'",
            "did you mean 'sim'?",
        ),
        (
            f"[model.m]\n{RUN}\nparams_to_args = ['n']",
            "heat.toml: [model.m] params_to_args: names holds 'n'",
            "",
        ),
        (f"[model.m]\n{RUN}\n[database.m]", "heat.toml: two tables describe 'm'", ""),
        (f"[model.m]\n{RUN}\n[ensemble.m]\n{RUN}\nreplicas = 2", "two tables describe 'm'", ""),
        (
            f"[ensemble.e]\n{RUN}",
            "heat.toml: [ensemble.e] params and replicas of e are None: one of them is needed",
            "",
        ),
        (
            f"[ensemble.e]\n{RUN}\nreplicas = 2\nperm_strategy = 'al_perm'\nparams = {{n = 1}}",
            "heat.toml: [ensemble.e] perm_strategy is 'al_perm'",
            "",
        ),
        ("[ensemble.e.model.m]", "heat.toml: [ensemble.e.model.m] run_settings is missing", ""),
        (
            "[experiment]\nname = 'a b'\n[database.db]",
            "heat.toml: [experiment] name is 'a b': it must be 1 to 64",
            "",
        ),
        (
            "[experiment]\nlauncher = 1\n[database.db]",
            "heat.toml: [experiment] launcher is 1, a int: it must be text",
            "",
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        read_text(text, "heat.toml", "/lab")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "heat.toml" in caught.value.message


_TOML = {
    "-1": st.just("-1"),
    "text": st.sampled_from(['""', '"a b"', '"1:00:00"', '"../x"', '"\\u0000"', '"é"']),
    "others": st.sampled_from(["0", "1", "1e999", "nan", "true", "false", "1979-05-27", "0o700"]),
    "nested": st.sampled_from(["[]", "[1, 'a']", "[[1]]", "{}", "{a = 1}", "[{}]", "{a = {}}"]),
}
VALUES = st.one_of(*_TOML.values())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_value_is_anything_but_taken_or_refused(data: st.DataObject) -> None:
    head, keys = data.draw(
        st.sampled_from(
            [
                ("[database.d]\n", DATABASE_KEYS),
                (f"[model.m]\n{RUN}\n", [key for key in MODEL_KEYS if key != "run_settings"]),
                (
                    f"[ensemble.e]\n{RUN}\nreplicas = 1\n",
                    [key for key in ENSEMBLE_KEYS if key not in ("run_settings", "replicas")],
                ),
                ("[model.m.run_settings]\nexe = 'sim'\n", [k for k in RUN_KEYS if k != "exe"]),
                ("[database.d.batch_settings]\n", BATCH_KEYS),
            ]
        )
    )
    key, value = data.draw(st.sampled_from(sorted(keys))), data.draw(VALUES)
    try:
        read_text(f"{head}{key} = {value}\n", "heat.toml", "/lab")
    except InputError as error:
        assert error.message.startswith("heat.toml: ")  # noqa: PT017
