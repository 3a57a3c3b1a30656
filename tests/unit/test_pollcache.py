"""Answers that processes share: how old they may be, about what, and what happens without them."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from filelock import FileLock

from hpcorch.pollcache import PollCache
from hpcorch.schedulers.base import Result
from tests.helpers import until


class Scheduler:
    """Answers with the number of the question."""

    def __init__(self, code: int = 0, work: Callable[[], None] = lambda: None) -> None:
        self.asked = 0
        self._code = code
        self._work = work

    def __call__(self) -> Result:
        self.asked += 1
        self._work()
        return Result(("squeue",), self._code, f"answer {self.asked}", "")


@pytest.fixture
def ask(tmp_path):
    def ask(scheduler, jobs=("1",), floor=3600.0, query="queue"):
        # Every call is a process of its own as far as the cache can tell.
        return PollCache(tmp_path).answer(query, jobs, floor, scheduler).result.out

    return ask


def test_an_answer_serves_everybody_until_it_is_too_old(ask, tmp_path):
    scheduler = Scheduler()
    assert [ask(scheduler) for _ in range(3)] == ["answer 1"] * 3
    (answer,) = tmp_path.glob("poll-*.json")
    os.utime(answer, (time.time() - 20, time.time() - 20))
    assert ask(scheduler, floor=30) == "answer 1"
    assert ask(scheduler, floor=15) == "answer 2"


def test_an_answer_tells_its_age(tmp_path):
    cache, scheduler = PollCache(tmp_path), Scheduler()
    assert cache.answer("queue", ["1"], 60, scheduler).age == 0
    (answer,) = tmp_path.glob("poll-*.json")
    os.utime(answer, (time.time() - 20, time.time() - 20))
    assert 19 < cache.answer("queue", ["1"], 60, scheduler).age < 60


def test_an_answer_about_more_jobs_will_do_and_one_about_others_will_not(ask):
    scheduler = Scheduler()
    ask(scheduler, ["1", "2"])
    assert ask(scheduler, ["2"]) == "answer 1"
    assert ask(scheduler, ["2", "3"]) == "answer 2"
    assert ask(scheduler, ["2"], query="history") == "answer 3"


def test_a_failed_query_is_not_kept(ask):
    scheduler = Scheduler(code=1)
    assert [ask(scheduler) for _ in range(2)] == ["answer 1", "answer 2"]


@pytest.mark.parametrize("code", [0, 1])
def test_who_comes_while_somebody_asks_gets_that_answer(ask, code, mocker):
    tries: Counter[int] = Counter()
    said: list[str] = []

    class Watched(FileLock):
        def _acquire(self) -> None:
            tries[threading.get_ident()] += 1
            super()._acquire()

    mocker.patch("hpcorch.pollcache.FileLock", Watched)

    def work() -> None:
        # Who has tried three times has waited longer than a free lock takes.
        until(lambda: sorted(tries.values())[-4:-3] >= [3], "four callers that wait")

    scheduler = Scheduler(code, work)
    threads = [threading.Thread(target=lambda: said.append(ask(scheduler))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["answer 1"] * 5


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": 3}', '{"jobs": ["1"], "out": "x"}'])
def test_a_damaged_answer_is_asked_for_again(ask, tmp_path, text):
    scheduler = Scheduler()
    ask(scheduler)
    (answer,) = tmp_path.glob("poll-*.json")
    answer.write_text(text)
    assert ask(scheduler) == "answer 2"


def test_an_answer_from_the_future_is_not_believed(ask, tmp_path):
    scheduler = Scheduler()
    ask(scheduler)
    (answer,) = tmp_path.glob("poll-*.json")
    os.utime(answer, (time.time() + 900, time.time() + 900))
    assert ask(scheduler) == "answer 2"


def test_without_a_usable_directory_everybody_asks(ask, tmp_path):
    scheduler = Scheduler()
    assert PollCache(None).answer("queue", ["1"], 60, scheduler).result.out == "answer 1"
    missing = PollCache(tmp_path / "missing")
    assert missing.answer("queue", ["1"], 60, scheduler).result.out == "answer 2"
    (tmp_path / "poll-queue.lock").mkdir()
    assert [ask(scheduler) for _ in range(2)] == ["answer 3", "answer 4"]
