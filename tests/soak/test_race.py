"""64 processes race for the server of their node, again and again."""

from __future__ import annotations

import os

import pytest

from hpcorch import Experiment
from tests.helpers import output
from tests.local.ranks import MEET_AND_TELL, colocate, one_server, ranks_model, use_launchers

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(7200)]

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "200"))


@pytest.mark.parametrize(("launcher", "transport"), [("mpirun", "tcp"), ("mpiexec", "uds")])
def test_no_process_ever_misses_its_server_or_finds_a_second_one(
    tmp_path, monkeypatch, launcher, transport
):
    use_launchers(tmp_path / "launchers", monkeypatch)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    exp = Experiment("soak", exp_path=tmp_path / "exp", launcher="local")
    for turn in range(ROUNDS):
        model = ranks_model(exp, f"race{turn}", launcher, 64, MEET_AND_TELL, ["64"])
        colocate(model, transport)
        exp.start(model)
        assert one_server(output(exp, model), 64), output(exp, model, "err")
        assert list(tmp_path.glob("hpcorch.*")) == []
