"""The snippets of docs/client.md run as they stand, one after another."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.redis


def test_snippets(tcp_server, monkeypatch, capsys):
    monkeypatch.setenv("SSDB", tcp_server.ssdb)
    tcp_server.admin().flushall()
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/client.md", "exec"), names)
    names["client"].close()
    assert capsys.readouterr().out.splitlines() == [
        "[[0. 1. 2.]",
        " [3. 4. 5.]]",
        "(10, 3) [0.5] ['m/s']",
        "step-1",
        "1",
    ]
