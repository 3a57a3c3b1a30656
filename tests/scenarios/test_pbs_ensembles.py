"""An ensemble on a PBS whose arrays are small: few calls, the right tasks, one cancellation.

The pretended PBS only keeps books here: it starts no program, and the records that tasks would
leave are written by the test.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from hpcorch import Ensemble, Experiment, RunSettings, shell
from hpcorch.errors import CommandFailed
from hpcorch.journal import Journal
from hpcorch.schedulers.base import Command, Options, Result
from hpcorch.sites import Site
from tests.fakebin.pbs import FakePbs

MEMBERS = 5000
LARGEST = 1000


@pytest.fixture
def pbs(own_surroundings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePbs]:
    """Room for all members, and every look is a question."""
    monkeypatch.setattr(Site, "options", lambda _: Options(poll_floor=0.0))
    with FakePbs(runs_programs=False, max_array_size=LARGEST, ncpus=2000) as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        yield found
        assert found.complaints() == ""


def counted(pbs: FakePbs) -> dict[str, int]:
    """How often each program was called since the last time."""
    return dict(Counter(words[0] for words in pbs.calls()))


def states(exp: Experiment, ensemble: Ensemble) -> dict[str, int]:
    return dict(Counter(map(str, exp.get_status(ensemble))))


def finish(exp: Experiment, pbs: FakePbs, codes: dict[int, int]) -> None:
    """End members of the last run as their scripts would: each leaves its record."""
    run = Journal(Path(exp.exp_path)).runs()[-1]
    folder = Path(run.directory, "exit")
    folder.mkdir(exist_ok=True)
    for number, code in codes.items():
        facts = {"index": number, "job": run.mark, "code": code, "signal": None}
        (folder / str(number)).write_text(json.dumps({**facts, "elapsed": 1, "reason": ""}))
    places = {number: place for place, number in enumerate(run.numbers)}
    offset = 0
    for part in run.parts:
        assert part.job is not None
        mine = {places[number] - offset: code for number, code in codes.items()}
        mine = {place: code for place, code in mine.items() if 0 <= place < part.elements}
        if mine:
            pbs.end_tasks(str(part.job), mine)
        offset += part.elements


def codes_of(numbers: Iterable[int]) -> dict[int, int]:
    """Every tenth of them fails."""
    return {number: 7 if number % 10 == 3 else 0 for number in numbers}


def test_5000_members_are_five_arrays_and_the_failed_ones_run_again_as_one(pbs, exp_dir):
    exp = Experiment("lab", exp_path=exp_dir, launcher="pbs")
    ensemble = exp.create_ensemble("ens", run_settings=RunSettings("/bin/true"), replicas=MEMBERS)
    exp.start(ensemble, block=False)
    # The limits of the server and of its queues are asked for once.
    assert counted(pbs) == {"qsub": 5, "qstat": 2, "pbsnodes": 1}
    assert [pbs.states(f"{number}[]") for number in range(5)] == ["B" + "R" * LARGEST] * 5
    scripts = [exp_dir / "ens" / f"job{number}.pbs" for number in ("", ".1", ".2", ".3", ".4")]
    offsets = [re.findall(r"HPCORCH_INDEX \+ (\d+)", path.read_text()) for path in scripts]
    assert offsets == [[], ["1000"], ["2000"], ["3000"], ["4000"]]
    pbs.calls()

    assert states(exp, ensemble) == {"Running": MEMBERS}
    assert counted(pbs) == {"qstat": 1}
    finish(exp, pbs, codes_of(range(4000)))
    pbs.calls()
    for _ in range(2):
        found = states(exp, ensemble)
    assert found == {"Completed": 3600, "Failed": 400, "Running": 1000}
    asked = pbs.calls()
    # What has ended is asked for no more.
    assert [words[0] for words in asked] == ["qstat"] * 2
    assert asked[-1][-1] == "4[].head"

    finish(exp, pbs, codes_of(range(4000, MEMBERS)))
    assert states(exp, ensemble) == {"Completed": 4500, "Failed": 500}
    pbs.calls()
    exp.start(ensemble, only="failed", block=False)
    failing = [number for number in range(MEMBERS) if number % 10 == 3]
    assert counted(pbs)["qsub"] == 1
    assert pbs.states("5[]") == "B" + "R" * 500
    assert Journal(exp_dir).runs()[-1].indices == tuple(failing)
    finish(exp, pbs, dict.fromkeys(failing[10:], 0) | dict.fromkeys(failing[:10], 7))
    exp.start(ensemble, only="failed", block=False)
    assert Journal(exp_dir).runs()[-1].indices == tuple(failing[:10])
    finish(exp, pbs, dict.fromkeys(failing[:10], 0))
    assert states(exp, ensemble) == {"Completed": MEMBERS}


def test_stopping_is_one_cancellation_for_all_arrays(pbs, exp_dir):
    pbs.set(max_array_size=10)
    exp = Experiment("lab", exp_path=exp_dir, launcher="pbs")
    ensemble = exp.create_ensemble("ens", run_settings=RunSettings("/bin/true"), replicas=12)
    exp.start(ensemble, block=False)
    pbs.calls()
    exp.stop()
    assert [words for words in pbs.calls() if words[0] == "qdel"] == [
        ["qdel", "0[].head", "1[].head"]
    ]
    assert states(exp, ensemble) == {"Cancelled": 12}
    assert pbs.queued() == []


@pytest.mark.parametrize("interrupted", ["never", "before", "after"])
def test_when_one_array_is_not_submitted_those_before_it_are_cancelled(
    pbs, exp_dir, mocker, interrupted
):
    """Ctrl-C may also come when the last one was accepted, and its id is not known yet."""
    pbs.set(max_jobs=3 if interrupted == "after" else 2, max_array_size=10)
    run = shell.run
    submissions: list[Command] = []

    def call(command: Command) -> Result:
        last = command.argv[0] == "qsub" and len(submissions) == 2
        submissions.extend([command] if command.argv[0] == "qsub" else [])
        if last and interrupted == "before":
            raise KeyboardInterrupt
        result = run(command)
        if last and interrupted == "after":
            raise KeyboardInterrupt
        return result

    mocker.patch("hpcorch.shell.run", side_effect=call)
    exp = Experiment("lab", exp_path=exp_dir, launcher="pbs")
    ensemble = exp.create_ensemble("ens", run_settings=RunSettings("/bin/true"), replicas=21)
    with pytest.raises(CommandFailed if interrupted == "never" else KeyboardInterrupt):
        exp.start(ensemble, block=False)
    assert len(submissions) == 3
    cancelled = [f"{number}[].head" for number in range(3 if interrupted == "after" else 2)]
    assert ["qdel", *cancelled] in pbs.calls()
    assert pbs.queued() == []
