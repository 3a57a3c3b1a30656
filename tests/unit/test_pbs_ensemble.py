"""An ensemble on a PBS whose arrays are small: few calls, the right tasks, one cancellation.

A stand-in answers instead of qsub, qstat and qdel in the words of a real PBS, and writes the
records that tasks would write.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from hpcorch import Experiment, RunSettings
from hpcorch.errors import CommandFailed
from hpcorch.journal import Journal
from hpcorch.schedulers.base import Command, Result

MEMBERS = 5000
LARGEST = 1000


class Pbs:
    """Accepts arrays, shows all their tasks as running, forgets what is deleted."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.words: dict[str, tuple[str, ...]] = {}
        self.arrays: dict[str, int] = {}
        self.accepts = 1000
        self.interrupts = False

    def asked(self) -> dict[str, int]:
        """Count the calls of the batch system; launch commands, asked for their kind, are none."""
        return {name: count for name, count in self.calls.items() if "/" not in name}

    def run(self, command: Command) -> Result:
        name, *words = command.argv
        self.calls[name] += 1
        self.words[name] = tuple(words)
        if name == "qselect":
            return Result(command.argv, 0, "", "")
        if name == "qsub" and len(self.arrays) == self.accepts:
            if self.interrupts:
                raise KeyboardInterrupt
            return Result(command.argv, 1, "", "qsub: Maximum number of jobs already in queue\n")
        if name == "qsub":
            return self.submit(Path(words[-1]).read_text())
        if name == "qdel":
            for job in words:
                del self.arrays[job]
            return Result(command.argv, 0, "", "")
        if words[0] in ("-B", "-Q"):
            kind = "Server: s\n    max_array_size = 1000\n" if words[0] == "-B" else "Queue: q\n"
            return Result(command.argv, 0, f"{kind}    default_queue = q\n", "")
        return self.show([word for word in words if not word.startswith("-")])

    def submit(self, script: str) -> Result:
        found = re.search(r"^#PBS -J 0-(\d+)$", script, re.MULTILINE)
        count = int(found[1]) + 1 if found else 1
        if count > LARGEST:
            return Result((), 1, "", "qsub: Array job exceeds server or queue size limit\n")
        job = f"{self.calls['qsub']}[].s"
        self.arrays[job] = count
        return Result((), 0, f"{job}\n", "")

    def show(self, jobs: list[str]) -> Result:
        lines, unknown = [], []
        for job in jobs:
            if job not in self.arrays:
                unknown.append(f"qstat: Unknown Job Id {job}\n")
                continue
            lines.append(f"Job Id: {job}\n    job_state = B\n    array = True\n\n")
            lines += [
                f"Job Id: {job.replace('[]', f'[{place}]')}\n    job_state = R\n\n"
                for place in range(self.arrays[job])
            ]
        return Result((), 153 if unknown else 0, "".join(lines), "".join(unknown))


@pytest.fixture
def pbs(mocker):
    found = Pbs()
    mocker.patch("hpcorch.shell.run", side_effect=found.run)
    return found


def finish(exp: Experiment, numbers: range | list[int], code: int) -> None:
    run = Journal(Path(exp.exp_path)).runs()[-1]
    folder = Path(run.directory, "exit")
    folder.mkdir(exist_ok=True)
    for number in numbers:
        facts = {"index": number, "job": run.mark, "code": code, "signal": None}
        (folder / str(number)).write_text(json.dumps({**facts, "elapsed": 1, "reason": ""}))


def test_5000_members_are_five_arrays_and_the_failed_ones_run_again_as_one(pbs, exp_dir):
    exp = Experiment("lab", exp_path=exp_dir, launcher="pbs")
    ensemble = exp.create_ensemble("ens", run_settings=RunSettings("/bin/true"), replicas=MEMBERS)
    exp.start(ensemble, block=False)
    assert pbs.asked() == {"qsub": 5, "qstat": 2, "pbsnodes": 1}
    assert list(pbs.arrays.values()) == [LARGEST] * 5
    scripts = [exp_dir / "ens" / f"job{number}.pbs" for number in ("", ".1", ".2", ".3", ".4")]
    offsets = [re.findall(r"HPCORCH_INDEX \+ (\d+)", path.read_text()) for path in scripts]
    assert offsets == [[], ["1000"], ["2000"], ["3000"], ["4000"]]

    failing = list(range(3, MEMBERS, 10))
    finish(exp, [number for number in range(4000) if number % 10 != 3], 0)
    finish(exp, failing[:400], 7)
    for _ in range(20):
        states = Counter(str(state) for state in exp.get_status(ensemble))
    assert states == {"Completed": 3600, "Failed": 400, "Running": 1000}
    assert pbs.asked() == {"qsub": 5, "qstat": 3, "pbsnodes": 1}
    assert pbs.words["qstat"][-1] == "5[].s"

    finish(exp, [number for number in range(4000, MEMBERS) if number % 10 != 3], 0)
    finish(exp, failing[400:], 7)
    assert Counter(map(str, exp.get_status(ensemble))) == {"Completed": 4500, "Failed": 500}
    pbs.arrays.clear()
    exp.start(ensemble, only="failed", block=False)
    assert pbs.calls["qsub"] == 6
    assert pbs.arrays["6[].s"] == 500
    assert Journal(exp_dir).runs()[-1].indices == tuple(failing)
    finish(exp, failing[10:], 0)
    finish(exp, failing[:10], 7)
    pbs.arrays.clear()
    exp.start(ensemble, only="failed", block=False)
    assert Journal(exp_dir).runs()[-1].indices == tuple(failing[:10])
    finish(exp, failing[:10], 0)
    assert Counter(map(str, exp.get_status(ensemble))) == {"Completed": MEMBERS}


def test_stopping_is_one_cancellation_for_all_arrays(pbs, exp_dir):
    exp = Experiment("lab", exp_path=exp_dir, launcher="pbs")
    ensemble = exp.create_ensemble("ens", run_settings=RunSettings("/bin/true"), replicas=1200)
    exp.start(ensemble, block=False)
    exp.stop()
    assert pbs.calls["qdel"] == 1
    assert pbs.words["qdel"] == ("1[].s", "2[].s")
    assert Counter(map(str, exp.get_status(ensemble))) == {"Cancelled": 1200}


@pytest.mark.parametrize("interrupts", [False, True])
def test_when_one_array_is_not_submitted_those_before_it_are_cancelled(pbs, exp_dir, interrupts):
    pbs.accepts, pbs.interrupts = 2, interrupts
    exp = Experiment("lab", exp_path=exp_dir, launcher="pbs")
    ensemble = exp.create_ensemble("ens", run_settings=RunSettings("/bin/true"), replicas=2100)
    with pytest.raises(KeyboardInterrupt if interrupts else CommandFailed):
        exp.start(ensemble, block=False)
    assert pbs.words["qdel"] == ("1[].s", "2[].s")
    assert (pbs.calls["qsub"], pbs.arrays) == (3, {})
