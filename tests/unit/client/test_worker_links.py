"""What a caller is told when the worker that has its request goes away."""

from __future__ import annotations

from typing import Any

import pytest

from hpcorch.client.errors import RedisTimeoutError
from hpcorch.client.frames import FrameError
from hpcorch.client.settings import legacy_settings
from hpcorch.client.worker_links import WorkerLinks, WorkerLost


@pytest.mark.parametrize(("taken", "told"), [(0.2, WorkerLost), (0.4, RedisTimeoutError)])
def test_another_worker_is_worth_a_try_only_while_there_is_time(mocker, taken, told):
    clock = mocker.patch("hpcorch.client.worker_links.time")
    clock.monotonic.side_effect = [5.0, 5.0 + taken]
    stream = mocker.Mock()
    stream.read.side_effect = FrameError("the connection was closed")
    nobody: Any = None
    links = WorkerLinks(nobody, legacy_settings(False, "127.0.0.1:1"))
    links._idle.append(stream)
    with pytest.raises(told):
        links.exchange(b"", [], 0.3)
    stream.close.assert_called_once()
