"""Joining requests of many callers: along axis 0 into one run, whose outputs are split again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpcorch.client.codecs import Tensor
from hpcorch.inference.faults import Fault

Run = Callable[[Sequence[Tensor], float], list[Tensor]]
# A request that waits for others leaves this part of its time to the run itself.
_WAIT_PART = 0.8


@dataclass(eq=False)
class _Ticket:
    """One caller's request; `turn` is set when it is done, or when its caller is to lead."""

    arrays: Sequence[Tensor]
    rows: int
    seconds: float
    turn: threading.Event = field(default_factory=threading.Event)
    outputs: list[Tensor] | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None

    def fits(self, other: _Ticket) -> bool:
        """Whether both can be in one batch: the same dtypes and shapes but for axis 0."""
        return len(self.arrays) == len(other.arrays) and all(
            mine.dtype == theirs.dtype and mine.shape[1:] == theirs.shape[1:]
            for mine, theirs in zip(self.arrays, other.arrays, strict=True)
        )


class Batcher:
    """Runs a model on up to `most` rows at once.

    A run waits until there are `least` rows, at most `wait` seconds (0: most of the time that its
    first request has). The caller of the first request in the queue leads: it collects a batch,
    runs it, and passes the lead to the next one.
    """

    def __init__(self, run: Run, most: int, least: int, wait: float) -> None:
        self._run = run
        self._most = most
        self._least = least
        self._wait = wait
        self._more = threading.Condition()
        self._waiting: deque[_Ticket] = deque()
        self._led = False

    def run(self, arrays: Sequence[Tensor], seconds: float) -> list[Tensor]:
        """Return the outputs for `arrays`; raises Fault after `seconds`, or what the run raises."""
        lengths = {array.shape[0] if array.ndim else -1 for array in arrays}
        if len(lengths) != 1 or lengths == {-1} or max(lengths) >= self._most:
            return self._run(arrays, seconds)
        ticket = _Ticket(arrays, max(lengths), seconds)
        with self._more:
            self._waiting.append(ticket)
            leads, self._led = not self._led, True
            self._more.notify()
        if leads or self._is_called(ticket):
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.outputs is not None
        return ticket.outputs

    def _is_called(self, ticket: _Ticket) -> bool:
        """Wait for the ticket's turn; tell whether that is to lead. Raises Fault after its time."""
        if not ticket.turn.wait(ticket.seconds):
            with self._more:
                if ticket in self._waiting and not ticket.turn.is_set():
                    self._waiting.remove(ticket)
                    raise Fault("timeout", "the request waited for its batch until its time was up")
            # It is being worked on, which ends by itself.
            ticket.turn.wait()
        return not ticket.done

    def _lead(self) -> None:
        """Run the batch that begins with the first ticket, then pass the lead on."""
        try:
            batch = self._collect()
            self._execute(batch)
            for ticket in batch:
                ticket.turn.set()
        finally:
            with self._more:
                self._led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].turn.set()

    def _collect(self) -> list[_Ticket]:
        with self._more:
            first = self._waiting[0]
            end = time.monotonic() + (self._wait or _WAIT_PART * first.seconds)
            while self._rows(first) < self._least and (left := end - time.monotonic()) > 0:
                self._more.wait(left)
            batch, rows = [], 0
            for ticket in list(self._waiting):
                if ticket.fits(first) and rows + ticket.rows <= self._most:
                    batch.append(ticket)
                    rows += ticket.rows
                    self._waiting.remove(ticket)
            return batch

    def _rows(self, first: _Ticket) -> int:
        return sum(ticket.rows for ticket in self._waiting if ticket.fits(first))

    def _execute(self, batch: Sequence[_Ticket]) -> None:
        if len(batch) > 1:
            try:
                self._together(batch)
                return
            except Exception:
                # One caller's input must not spoil the others' results: each for itself then.
                pass
        for ticket in batch:
            try:
                ticket.outputs = self._run(ticket.arrays, ticket.seconds)
            except Exception as error:
                ticket.error = error

    def _together(self, batch: Sequence[_Ticket]) -> None:
        columns = zip(*(ticket.arrays for ticket in batch), strict=True)
        joined = [np.concatenate(column) for column in columns]
        outputs = self._run(joined, min(ticket.seconds for ticket in batch))
        total = sum(ticket.rows for ticket in batch)
        if any(output.shape[:1] != (total,) for output in outputs):
            raise Fault("failed", "an output of the model does not have one row for each input row")
        start = 0
        for ticket in batch:
            end = start + ticket.rows
            ticket.outputs = [output[start:end] for output in outputs]
            start = end
