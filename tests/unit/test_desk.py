"""How many seats a worker's desk has, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hpcorch.inference.asked import Desk


def test_another_seat_is_called_when_all_are_busy_and_there_is_room(mocker):
    service: Any = SimpleNamespace(most_bytes=4)
    nobody: Any = None
    desk = Desk(nobody, "w", service, nobody, wait=1, patience=1, together=12)
    called = mocker.patch.object(desk, "start")
    with desk._occupied(4):
        desk._call_another()
        assert called.call_count == 1
        # That one has not asked yet, but it will.
        desk._call_another()
        assert called.call_count == 1
        with desk._occupied(4):
            desk._call_another()
            assert called.call_count == 2
            with desk._occupied(4):
                desk._call_another()
                assert called.call_count == 2
    # Each is free again when what it held is: none looks free and full, or busy and empty.
    assert (desk._busy, desk._held) == (0, 0)
