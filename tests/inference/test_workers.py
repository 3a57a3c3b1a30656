"""Workers that crash, hang, are lost with a request, or have nothing to do."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hpcorch.client import RedisRuntimeError, RedisTimeoutError, workers
from tests.helpers import until
from tests.inference.models import MLP, ROWS

pytestmark = pytest.mark.redis


def deadly(path: Path, times: int) -> str:
    """Return a function that kills its worker until it has done so `times` times."""
    return (
        f"def deadly(x):\n    import os, pathlib, signal\n    path = pathlib.Path({str(path)!r})\n"
        f"    path.open('a').write('x')\n    if len(path.read_text()) <= {times}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n    return x + 1\n"
    )


def test_a_request_outlives_the_worker_that_it_was_sent_to(own_lab, connect, tmp_path):
    own_lab.begin("w0")
    own_lab.start("w1")
    client = connect(own_lab)
    until(lambda: len(workers.listed(client._router)) == 2, "two workers on the list")
    client.set_source("once", deadly(tmp_path / "once", 1), "PYTHON")
    assert client.infer_script("once", "deadly", np.arange(2))[0].tolist() == [1, 2]
    ended = until(
        lambda: [name for name, one in own_lab.workers.items() if one.poll() is not None],
        "the end of the worker",
    )
    own_lab.start(ended[0])
    client.set_source("always", deadly(tmp_path / "always", 9), "PYTHON")
    with pytest.raises(RedisRuntimeError, match="two model workers ended while they worked"):
        client.infer_script("always", "deadly", np.arange(2))
    assert (tmp_path / "always").read_text() == "xx"


def test_a_queued_request_outlives_its_worker_once(own_lab, connect, tmp_path):
    client = connect(own_lab)
    own_lab.start()
    for name, times, tried in (("once", 1, "xx"), ("always", 9, "xx")):
        client.set_source(name, deadly(tmp_path / name, times), "PYTHON")
        client.put_tensor("in", np.arange(2))
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(client.run_script, name, "deadly", "in", name, durable=True)
            while not future.done():
                # Its first act is to take up the request, so it may end before it says it is ready.
                if own_lab.workers["w0"].poll() is not None:
                    own_lab.begin()
                time.sleep(0.01)
        assert (tmp_path / name).read_text() == tried
        if name == "once":
            future.result()
            assert client.get_tensor("once").tolist() == [1, 2]
        else:
            with pytest.raises(RedisRuntimeError, match="2 model workers ended"):
                future.result()


def test_a_run_that_takes_too_long_is_given_up(own_lab, connect):
    own_lab.start()
    client = connect(own_lab, SR_MODEL_TIMEOUT="300")
    client.set_source("slow", "def slow(x):\n    import time\n    time.sleep(600)\n", "PYTHON")
    # What is loaded in the time of the run, and too late, is not run.
    client.load_script("slow")
    with pytest.raises(RedisTimeoutError, match=r"did not answer within 0\.3 s"):
        client.infer_script("slow", "slow", np.arange(2))
    # The worker itself begins anew when a run does not come to an end.
    until(lambda: own_lab.workers["w0"].poll() is not None, "the worker's end")
    assert "a run does not come to an end" in own_lab.log()


def test_what_loads_slowly_is_loaded_all_the_same(own_lab, connect):
    """A large model is not begun again and again because its callers have no patience."""
    own_lab.start()
    client = connect(own_lab, SR_MODEL_TIMEOUT="200")
    # Longer than the time after which a run is taken to be stuck.
    client.set_source("slow", "import time\ntime.sleep(3)\ndef same(x):\n    return x\n", "PYTHON")
    tries = []

    def answered():
        try:
            return client.infer_script("slow", "same", np.arange(2))
        except RedisTimeoutError as error:
            tries.append(error)
            return []

    found = until(answered, "an answer once it is loaded")
    assert found[0].tolist() == [0, 1]
    assert tries
    assert own_lab.log().count("loaded the script slow") == 1
    assert own_lab.workers["w0"].poll() is None


def test_a_worker_lives_on_while_nothing_changes(own_lab, connect):
    """Silence for longer than any command may take is no sign that the database has gone."""
    own_lab.environment |= {"SR_SOCKET_TIMEOUT": "1000", "SR_CMD_TIMEOUT": "5"}
    own_lab.start()
    asked, admin = "cmdstat_subscribe", own_lab.nodes[0].admin()
    # Each time it listens anew a second has passed.
    until(lambda: admin.info("commandstats")[asked]["calls"] > 6, "half a dozen silences")
    client = connect(own_lab, SR_SOCKET_TIMEOUT="30000", SR_CMD_TIMEOUT="30")
    client.set_model("mlp", MLP, "ONNX")
    client.put_tensor("rows", ROWS)
    client.run_model("mlp", "rows", "found", durable=True)
    assert own_lab.workers["w0"].poll() is None
    assert "begins anew" not in own_lab.log()


def test_a_flushed_database_has_no_models(own_lab, connect):
    own_lab.start()
    client = connect(own_lab)
    client.set_model("mlp", MLP, "ONNX")
    client.infer("mlp", ROWS)
    client.flush_db([own_lab.nodes[0].ssdb])

    def refused() -> str:
        try:
            client.infer("mlp", ROWS)
        except RedisRuntimeError as error:
            return str(error)
        return ""

    until(lambda: "no model 'mlp'" in refused(), "the model's end")


def test_a_worker_that_is_lost_from_the_list_comes_back(own_lab, connect):
    """As when the shard that has the list, and not this worker's queue, restarts without data."""
    own_lab.environment["SR_SOCKET_TIMEOUT"] = "1000"
    own_lab.start()
    router = connect(own_lab)._router
    own_lab.nodes[0].admin().delete("hpcorch:workers")
    until(lambda: [one.name for one in workers.listed(router)] == ["w0"], "the worker on the list")


def test_a_worker_outlives_a_full_database(own_lab, connect):
    own_lab.start()
    client, admin = connect(own_lab), own_lab.nodes[0].admin()
    client.set_model("mlp", MLP, "ONNX")
    client.put_tensor("rows", ROWS)
    admin.config_set("maxmemory", 1)
    admin.delete("hpcorch:queue:{0}")
    until(lambda: own_lab.log().count("begins anew") > 12, "the reader's fourth try")
    admin.config_set("maxmemory", 0)
    client.run_model("mlp", "rows", "found", durable=True)
    assert own_lab.workers["w0"].poll() is None


def test_an_idle_worker_uses_no_cpu(uds_lab, client):
    client.set_model("mlp", MLP, "ONNX")
    client.infer("mlp", ROWS)
    stat = Path(f"/proc/{uds_lab.workers['w0'].pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    # The window is what is measured, not something that is waited for.
    before, window = ticks(), threading.Event()
    window.wait(1.0)
    assert ticks() - before <= 0.02 * os.sysconf("SC_CLK_TCK")
