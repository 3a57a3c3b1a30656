"""Databases beside programs on this machine: reached, pinned, protected, gone with them."""

from __future__ import annotations

import os
import socket

import pytest

from hpcorch import TaskState
from hpcorch.errors import InputError
from tests.helpers import (
    ROOT,
    bash_model,
    directory,
    free_port,
    kill,
    listening,
    output,
    processes,
    python_model,
    until,
)

pytestmark = pytest.mark.redis

# Talks to its colocated database; says where it and the server may run.
COLOCATED = """
import json, os, sys
import numpy as np
from hpcorch import Client, ConfigOptions
from tests.helpers import connect
config = ConfigOptions.create_from_environment(sys.argv[1])
with Client(config) as client:
    client.put_tensor("here", np.arange(4))
    found = client.get_tensor("here").tolist()
suffix = "_" + sys.argv[1] if sys.argv[1] else ""
address = os.environ["SSDB" + suffix]
print(json.dumps([found, address, sorted(os.sched_getaffinity(0))]))
"""


@pytest.mark.parametrize("transport", ["tcp", "uds"])
@pytest.mark.parametrize("identifier", ["", "my-db"])
def test_a_colocated_database_serves_its_program(exp, node_dir, transport, identifier):
    model = python_model(exp, "app", COLOCATED, identifier, PYTHONPATH=str(ROOT))
    if transport == "tcp":
        model.colocate_db_tcp(port=free_port(), db_identifier=identifier, custom_pinning=[])
    else:
        model.colocate_db_uds(db_identifier=identifier, custom_pinning=[])
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    said = output(exp, model)
    assert "[[0, 1, 2, 3]" in said
    assert ("unix:///" if transport == "uds" else "127.0.0.1:") in said
    assert list(node_dir.iterdir()) == []


def test_a_colocated_database_is_pinned_and_its_program_kept_off_its_cpus(exp, debian_server):
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.fail("this test needs two CPUs")
    code = """
import os, sys
from pathlib import Path
def cpus(pid):
    return sorted(os.sched_getaffinity(pid))
servers = []
for entry in Path("/proc").glob("[0-9]*"):
    try:
        words = (entry / "cmdline").read_bytes()
    except OSError:
        continue
    if words.startswith(sys.argv[1].encode()) and os.getsid(int(entry.name)) == os.getsid(0):
        servers.append(int(entry.name))
print(cpus(0), [cpus(pid) for pid in servers])
"""
    for limit, mine in ((True, allowed[:1] + allowed[2:]), (False, allowed)):
        model = python_model(exp, f"app-{limit}", code, debian_server)
        model.colocate_db_uds(custom_pinning=[1], limit_app_cpus=limit)
        exp.start(model)
        assert f"{mine} [[{allowed[1]}]]" in output(exp, model), output(exp, model, "err")


def test_pinning_to_a_cpu_that_the_job_lacks_fails_with_the_allowed_ones(exp):
    model = bash_model(exp, "app", "true")
    model.colocate_db_uds(custom_pinning=[4095])
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "cannot have CPU number 4095: this task may use" in exp._ledger.snapshots()[0].reason


def test_a_colocated_database_needs_its_password(exp):
    code = """
import os
import socket
from tests.helpers import connect
try:
    print("in", connect(os.environ["SSDB"]).ping())
except Exception as error:
    print("out", error)
"""
    model = python_model(exp, "app", code, PYTHONPATH=str(ROOT))
    model.colocate_db_tcp(port=free_port(), custom_pinning=[])
    exp.start(model)
    said = output(exp, model)
    assert said.startswith("out"), said + output(exp, model, "err")
    assert "uthenticat" in said


def test_a_socket_whose_path_begins_alike_is_another_one(exp, node_dir):
    model = bash_model(exp, "m", "exit 0")
    model.colocate_db_uds(unix_socket=str(node_dir / "db"))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(node_dir / "db.2"))
        exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]


def test_a_colocated_database_that_dies_leaves_no_socket_behind(
    exp, node_dir, tmp_path, debian_server
):
    mark = tmp_path / "mark"
    model = bash_model(exp, "app", 'touch "$1"; exec sleep 600', str(mark))
    model.colocate_db_uds(custom_pinning=[])
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    assert list(node_dir.glob("*/*/db.socket"))
    found = processes(tmp_path)
    servers = [pid for pid, words in found.items() if words.startswith(debian_server)]
    assert len(servers) == 1
    kill(servers[0])
    exp.stop(model)
    assert list(node_dir.iterdir()) == []


def test_an_identifier_of_a_running_database_cannot_be_colocated(exp):
    database = exp.create_database(port=free_port(), db_identifier="x")
    model = bash_model(exp, "app", "true")
    model.colocate_db_tcp(db_identifier="x")
    with pytest.raises(InputError, match=r"db_identifier of the database colocated with app"):
        exp.start(database, model)
    assert not directory(exp, database).exists()


def test_a_colocated_server_passes_over_a_busy_port(exp):
    port = free_port()
    model = bash_model(exp, "app", 'echo "$SSDB"')
    model.colocate_db_tcp(port=port, custom_pinning=[])
    with listening(port):
        exp.start(model)
    found = int(output(exp, model).rpartition(":")[2])
    assert found > port
