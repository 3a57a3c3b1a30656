"""Databases on this machine: shards, addresses, busy ports, settings at run time, lost shards."""

from __future__ import annotations

import numpy as np
import pytest

from hpcorch import Experiment, TaskState
from hpcorch.errors import HpcorchError, InputError, NotActive
from tests.helpers import (
    admin,
    directory,
    free_port,
    is_alive,
    kill,
    listening,
    row,
    run_driver,
    server_pid,
    until,
)

pytestmark = pytest.mark.redis

# Starts a database, uses every shard, and says where it is.
AT_ONCE = """
import sys
import numpy as np
from hpcorch import Experiment
exp = Experiment("lab", exp_path=sys.argv[1])
database = exp.create_database(port=int(sys.argv[2]), db_nodes=int(sys.argv[3]))
exp.start(database)
assert database.is_active()
with database.client() as client:
    for number in range(20):
        client.put_tensor(f"t{number}", np.array([number]))
        assert client.get_tensor(f"t{number}").tolist() == [number]
assert sum(item["keys"] for item in database.health()) == 20
print("at", ",".join(database.get_address()).replace(" ", ""))
"""


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_database_of_any_size_keeps_what_is_put_into_it(exp, shards):
    database = exp.create_database(port=free_port(shards), db_nodes=shards)
    exp.start(database)
    assert exp.get_status(database) == [TaskState.RUNNING]
    assert len(set(database.get_address())) == shards == database.num_shards
    assert database.hosts == ["127.0.0.1"]
    assert database.is_active()
    with database.client() as client:
        for number in range(40):
            client.put_tensor(f"tensor {number}", np.full(3, number))
        for number in range(40):
            assert client.get_tensor(f"tensor {number}").tolist() == [number] * 3
    health = database.health()
    assert [item["address"] for item in health] == database.get_address()
    assert {item["state"] for item in health} == {"ok"}
    keys = [item["keys"] for item in health]
    assert sum(int(str(count)) for count in keys) == 40
    assert all(keys)
    pids = [server_pid(admin(exp, database, shard)) for shard in range(shards)]
    exp.stop(database)
    assert not any(is_alive(pid) for pid in pids)
    assert row(exp, "orchestrator")["Status"] == "Cancelled"
    assert row(exp, "orchestrator")["Returncode"] == "0"
    assert not database.is_active()
    assert not (directory(exp, database) / "address.env").exists()
    assert not (directory(exp, database) / "address.json").exists()
    with pytest.raises(NotActive, match="not active"):
        database.get_address()


def test_node_files_are_removed_and_a_second_stop_does_nothing(exp, node_dir):
    database = exp.create_database(port=free_port())
    exp.start(database)
    assert list(node_dir.iterdir())
    exp.stop(database)
    exp.stop(database)
    exp.stop()
    assert list(node_dir.iterdir()) == []
    assert row(exp, "orchestrator")["Status"] == "Cancelled"


def test_two_databases_in_one_experiment_do_not_mix(exp):
    first = exp.create_database(port=free_port(), db_identifier="one")
    second = exp.create_database(port=free_port(), db_identifier="two-2")
    exp.start(first, second)
    with first.client() as one, second.client() as two:
        one.put_tensor("mine", np.arange(2))
        assert not two.key_exists("mine")
    exp.stop(first)
    assert exp.get_status(first, second) == [TaskState.CANCELLED, TaskState.RUNNING]
    assert second.is_active()


def test_an_identifier_that_is_in_use_is_refused(exp):
    exp.create_database(db_identifier="same")
    with pytest.raises(InputError, match="db_identifier is 'same': a database of this experiment"):
        exp.create_database(db_identifier="same")
    with pytest.raises(InputError, match="name is 'same': a database of this experiment"):
        exp.create_model("same", exp.create_run_settings("true"))


def test_a_busy_port_is_passed_over_and_told(exp, capsys):
    port = free_port()
    database = exp.create_database(port=port)
    with listening(port):
        exp.start(database)
        found = int(database.get_address()[0].rpartition(":")[2])
        assert found > port
        assert database.is_active()
    assert f"could not have port {port}: " in capsys.readouterr().out


@pytest.mark.parametrize("offset", [0, 5000, 10000, 15000])
def test_a_busy_port_beside_a_cluster_is_passed_over(exp, offset):
    """5000 above is the TLS port that a cluster with TLS on its bus needs, the bus is above it."""
    port = free_port(2)
    database = exp.create_database(port=port, db_nodes=2)
    with listening(port + offset):
        exp.start(database)
        assert database.is_active()
        used = {int(address.rpartition(":")[2]) for address in database.get_address()}
        assert len(used) == 2
        if offset != 10000:  # The bus is there only without TLS.
            assert port not in used


def test_a_setting_of_a_running_cluster_reaches_every_shard(exp):
    database = exp.create_database(port=free_port(2), db_nodes=2)
    database.set_db_conf("maxmemory-policy", "allkeys-lru")
    exp.start(database)
    database.set_max_memory("100mb")
    for shard in range(2):
        server = admin(exp, database, shard)
        assert server.config_get("maxmemory") == {"maxmemory": str(100 * 2**20)}
        assert server.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
    with pytest.raises(HpcorchError, match=r"refuses maxmemory-policy = 'nonsense'"):
        database.set_eviction_strategy("nonsense")
    assert database.settings["maxmemory-policy"] == "allkeys-lru"


def test_a_database_whose_server_is_killed_has_failed_and_takes_its_address_back(exp):
    database = exp.create_database(port=free_port())
    exp.start(database)
    kill(server_pid(admin(exp, database)))
    until(lambda: exp.get_status(database) == [TaskState.FAILED], "Failed")
    assert row(exp, "orchestrator")["Returncode"] == "137"
    assert not (directory(exp, database) / "address.env").exists()
    assert not database.is_active()
    with pytest.raises(NotActive):
        database.get_address()


def test_a_cluster_that_loses_one_shard_takes_its_address_back_and_has_failed(exp):
    database = exp.create_database(port=free_port(2), db_nodes=2)
    exp.start(database)
    kill(server_pid(admin(exp, database, 1)))
    until(lambda: not (directory(exp, database) / "address.env").exists(), "the address went")
    assert not database.is_active()
    # Whoever stops a shard before it has left its record has cancelled it.
    until((directory(exp, database) / "exit" / "1").exists, "the record of the lost shard")
    exp.stop(database)
    assert exp.get_status(database) == [TaskState.FAILED]
    shot = exp._ledger.snapshots()[0]
    assert "the server ended with exit code 137" in shot.reason


def test_a_database_starts_again_in_the_same_place(exp):
    database = exp.create_database(port=free_port())
    for run_id in range(2):
        exp.start(database)
        assert database.is_active()
        exp.stop(database)
        assert row(exp, "orchestrator", run_id)["Status"] == "Cancelled"


@pytest.mark.parametrize("shards", [1, 3])
def test_databases_that_start_at_once_on_the_same_port_do_not_meet(exp_dir, tmp_path, shards):
    """All of them look for a free port in the same moment; who loses it takes the next one."""
    port = free_port(9)
    drivers = [
        run_driver(AT_ONCE, str(exp_dir / str(number)), str(port), str(shards), cwd=tmp_path)
        for number in range(3)
    ]
    said = [driver.communicate(timeout=60)[0] for driver in drivers]
    try:
        assert [driver.returncode for driver in drivers] == [0, 0, 0], "\n".join(said)
        found = [line for text in said for line in text.splitlines() if line.startswith("at ")]
        addresses = [address for line in found for address in line.removeprefix("at ").split(",")]
        assert len(addresses) == len(set(addresses)) == 3 * shards
    finally:
        for number in range(3):
            Experiment.attach(exp_dir / str(number)).stop()


def test_a_database_that_was_not_waited_for_is_there_once_it_answers(exp):
    database = exp.create_database(port=free_port())
    exp.start(database, wait=False)
    until(database.is_active, "the answer of the database")
    assert len(database.get_address()) == 1
