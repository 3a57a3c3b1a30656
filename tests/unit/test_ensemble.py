"""Ensembles as they are described: strategies, members, and what they are told of each other."""

from __future__ import annotations

import numpy as np
import pytest

from hpcorch import Model, RunSettings
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError, InputTypeError

RUN = RunSettings("program", ["--fast"], env_vars={"A": "1"})
XY = {"x": [1, 2, 3], "y": ["a", "b"]}


def ensemble(params=None, **facts):
    return Ensemble("ens", params, run_settings=RUN, **facts)


def params(found):
    return [tuple(model.params.values()) for model in found]


def test_every_combination_is_a_member_and_the_last_parameter_changes_first():
    found = ensemble(XY)
    assert [model.name for model in found] == [f"ens_{number}" for number in range(6)]
    expected = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b")]
    assert params(found) == expected
    assert found.models == found.entities == list(found)


def test_steps_take_the_values_side_by_side_and_refuse_unequal_lists():
    found = ensemble({"x": [1, 2], "y": ["a", "b"]}, perm_strategy="step")
    assert params(found) == [(1, "a"), (2, "b")]
    with pytest.raises(InputError, match="params has 3 of x, 2 of y: the strategy step needs"):
        ensemble(XY, perm_strategy="step")


def test_random_members_are_distinct_and_the_same_for_the_same_seed():
    wide = {f"p{number}": list(range(10)) for number in range(30)}
    for space, count in ((XY, 4), (wide, 50)):
        first, second, other = (
            params(ensemble(space, perm_strategy="random", n_models=count, seed=seed))
            for seed in (1, 1, 2)
        )
        assert first == second != other
        assert len(set(first)) == count
    assert sorted(params(ensemble(XY, perm_strategy="random"))) == params(ensemble(XY))
    with pytest.raises(InputError, match="n_models is 7: params has 6 combinations"):
        ensemble(XY, perm_strategy="random", n_models=7)


@pytest.mark.parametrize(
    ("space", "facts", "message"),
    [
        (XY, {"n_models": 5}, "n_models is 5: the strategy all_perm makes 6"),
        (XY, {"seed": 1}, "seed is 1: only the strategy random draws anything"),
        (None, {"replicas": 2, "n_models": 2}, "they choose from params, and there are none"),
        (None, {"replicas": 2, "perm_strategy": "step"}, "they choose from params"),
    ],
)
def test_what_the_strategy_would_not_heed_is_refused(space, facts, message):
    with pytest.raises(InputError, match=message):
        ensemble(space, **facts)
    assert len(ensemble(XY, n_models=6)) == 6


def test_a_strategy_may_be_a_callable():
    seen = []

    def strategy(names, values, n_models):
        seen.append((names, values, n_models))
        return [{"x": 9}]

    assert params(ensemble(XY, perm_strategy=strategy, n_models=5)) == [(9,)]
    assert seen == [(["x", "y"], [[1, 2, 3], ["a", "b"]], 5)]
    for answer in (None, {"x": 1}, [1], "x"):
        if answer == {"x": 1}:
            continue
        with pytest.raises(InputTypeError, match="it must return a list of mappings"):
            ensemble(XY, perm_strategy=lambda *_, answer=answer: answer)


def test_replicas_multiply_the_combinations():
    assert params(ensemble({"x": [1, 2]}, replicas=2)) == [(1,), (1,), (2,), (2,)]
    assert params(ensemble(replicas=3)) == [(), (), ()]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"run_settings": RUN}, "params and replicas of ens are None"),
        ({"params": {"x": 1}}, "run_settings of ens is None: its members need a program"),
        ({}, "ensemble ens has no members"),
        ({"run_settings": RUN, "params": {"x": []}}, r"params\['x'\] is \[\]"),
        ({"run_settings": RUN, "params": {"x": [None]}}, r"params\['x'\]\[0\] is None"),
        ({"run_settings": RUN, "params": ["x"]}, "params is .*: it must be a mapping"),
        ({"run_settings": RUN, "params": {"x": 1}, "perm_strategy": "best"}, "perm_strategy is"),
        ({"run_settings": RUN, "replicas": 0}, "replicas is 0"),
        ({"run_settings": RUN, "replicas": 1, "max_running": 0}, "max_running is 0"),
        ({"run_settings": "program", "replicas": 1}, "run_settings is a str"),
    ],
)
def test_what_makes_no_ensemble_is_refused_in_one_sentence(facts, words):
    with pytest.raises(InputError, match=words):
        Ensemble("ens", **facts)


def test_numbers_of_numpy_are_plain_numbers():
    found = ensemble({"x": [np.int64(3)], "y": [np.float32(0.1)], "z": "text"})
    assert params(found) == [(3, 0.1, "text")]
    assert [type(value) for value in found[0].params.values()] == [int, float, str]
    assert params(ensemble({"x": np.linspace(0, 1, 3), "y": np.arange(1)})) == [
        (0.0, 0),
        (0.5, 0),
        (1.0, 0),
    ]
    assert len(ensemble(replicas=np.int64(3), max_running=np.int8(2))) == 3
    allowed = "text, a number, or a list of them that is not empty"
    empty: list[int] = []
    for wrong in (np.array([]), empty, np.array(3), {1, 2}, b"ab"):
        with pytest.raises(InputTypeError, match=rf"params\['x'\] is .*: it must be {allowed}"):
            ensemble({"x": wrong})
    with pytest.raises(InputTypeError, match=r"params\['x'\]\[0\] is array"):
        ensemble({"x": np.zeros((2, 2))})


def test_what_may_be_left_out_may_be_none():
    found = ensemble(XY, params_as_args=None, n_models=None, seed=None, batch_settings=None)
    assert len(found) == 6


def test_parameters_become_arguments_on_demand():
    found = ensemble({"x": [1], "long": ["a b"]}, params_as_args=["x", "long"])
    assert found[0].run_settings.exe_args == ("--fast", "-x", "1", "--long=a b")
    with pytest.raises(InputError, match="params_as_args holds 'z': the parameters are x, long"):
        ensemble({"x": [1], "long": ["a"]}, params_as_args=["z"])


def test_members_share_nothing_with_each_other_or_with_the_settings_they_were_made_of():
    settings = RunSettings("program", env_vars={"A": "1"})
    found = Ensemble("ens", run_settings=settings, replicas=2)
    settings.update_env({"A": "changed later"})
    found[0].run_settings.add_exe_args("x")
    found[0].run_settings.update_env({"A": "2"})
    assert [model.run_settings.env_vars["A"] for model in found.peek()] == ["2", "1"]
    assert [model.run_settings.exe_args for model in found.peek()] == [("x",), ()]
    assert found[0] is found.models[0]
    assert found[-1].name == "ens_1"
    assert [model.name for model in found[-1:]] == ["ens_1"]
    with pytest.raises(IndexError):
        found[2]


def test_members_whose_files_are_put_in_place_are_found_without_looking_at_all(mocker):
    found = ensemble(replicas=3)
    found.add_model(Model("given", RUN))
    made = mocker.spy(found, "_make")
    assert list(found.peek_equipped()) == []
    assert made.call_count == 0
    for number in (2, 0):
        found[number].attach_generator_files("/in")
    found["given"].attach_generator_files("/in")
    assert [model.name for model in found.peek_equipped()] == ["ens_0", "ens_2", "given"]
    found.attach_generator_files("/in", on_node=True)
    found[1].attach_generator_files("/in")
    assert [model.name for model in found.peek_equipped()] == ["ens_1"]
    found.attach_generator_files("/in")
    assert len(list(found.peek_equipped())) == 4


def test_an_ensemble_of_given_models():
    found = Ensemble("ens", batch_settings=BatchSettings())
    one, two = Model("one", RUN), Model("two", RunSettings("other"))
    found.add_model(one)
    found.add_model(two)
    assert found.models == [one, two]
    assert found.member_names == ["one", "two"]
    assert (found.number_of(two), found.number_of(Model("one", RUN))) == (1, None)
    with pytest.raises(InputError, match="a member of ens has it already"):
        found.add_model(Model("one", RUN))
    with pytest.raises(InputTypeError, match="a model is expected"):
        found.add_model("one")  # type: ignore[arg-type]
    mixed = ensemble(replicas=2)
    with pytest.raises(InputError, match="'ens_1': a member of ens has it already"):
        mixed.add_model(Model("ens_1", RUN))
    mixed.add_model(one)
    own = Model("ens_01", RUN)
    mixed.add_model(own)
    assert mixed["ens_01"] is own
    assert mixed.member_names == ["ens_0", "ens_1", "one", "ens_01"]


def test_key_prefixes_are_on_for_members_and_off_for_models():
    found, model = ensemble(replicas=2), Model("m", RUN)
    assert (found.query_key_prefixing(), model.query_key_prefixing()) == (True, False)
    found[1].disable_key_prefixing()
    assert not found.query_key_prefixing()
    found.enable_key_prefixing()
    assert found.query_key_prefixing()
    found.disable_key_prefixing()
    assert [item.query_key_prefixing() for item in found.peek()] == [False, False]
    model.enable_key_prefixing()
    assert model.query_key_prefixing()


def test_who_is_read_is_told_by_the_names_of_all_producers():
    producers, model, reader = ensemble(replicas=3), Model("m", RUN), Model("r", RUN)
    for entity in (model, producers):
        reader.register_incoming_entity(entity)
    assert reader.incoming_names == ["m", "ens_0", "ens_1", "ens_2"]
    with pytest.raises(InputError, match="incoming_entity of r is 'm': it is registered already"):
        reader.register_incoming_entity(Model("m", RUN))
    with pytest.raises(InputTypeError, match="a model or an ensemble is expected"):
        reader.register_incoming_entity("m")  # type: ignore[arg-type]
    touched = producers[1]
    producers.register_incoming_entity(model)
    assert [item.incoming_names for item in producers.peek()] == [["m"]] * 3
    assert touched.incoming_names == ["m"]
    with pytest.raises(InputError, match="it is registered already"):
        producers.register_incoming_entity(model)
