"""Ensembles on a real Slurm: one array, or several where one may not hold all members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

MEMBERS = 200

# A member puts its number, an array of one byte, into the shared database: starting Python 200
# times would take longer than all else. Every tenth fails after that, until the file is there.
WRITER = """
set -euo pipefail
first=${SSDB%%,*}
export REDISCLI_AUTH=$(sed -n s/^password=//p "$HPCORCH_CREDENTIALS")
user=$(sed -n s/^user=//p "$HPCORCH_CREDENTIALS")
{ base64 -d <<<"$1"; printf "\\x$(printf %02x "$HPCORCH_INDEX")"; } |
  redis-cli -c -h "${first%:*}" -p "${first##*:}" --user "$user" -x SET "$SSKEYOUT.x" | grep -q OK
[[ $((HPCORCH_INDEX % 10)) != 3 || -e $2 ]] || exit 7
"""
# Reads the tensor of each member that it was told of.
READER = """
import os
from hpcorch import Client, ConfigOptions
client = Client(ConfigOptions.create_from_environment(""))
found = []
for name in os.environ["SSKEYIN"].split(","):
    client.set_data_source(name)
    found += client.get_tensor("x").tolist()
print(found)
"""


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


@pytest.fixture(scope="module")
def narrow() -> Iterator[Cluster]:
    """A cluster whose arrays have two tasks at most."""
    with Cluster(settings={"MaxArraySize": "2"}) as cluster:
        yield cluster


WRITTEN = """
    import base64, io
    stream, mended = io.BytesIO(), str(Path("mended").absolute())
    np.save(stream, np.zeros(1, np.uint8))
    header = base64.b64encode(stream.getvalue()[:-1]).decode()
    settings = exp.create_run_settings("bash", ["-c", sys.argv[1], "_", header, mended])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=int(sys.argv[3]))
    consumer = python_model("consumer", sys.argv[2])
    consumer.register_incoming_entity(ensemble)
    database = exp.create_database(db_nodes=3)
    exp.start(database)
    exp.start(ensemble)
    first = [str(state) for state in exp.get_status(ensemble)]
    codes = [json.loads(Path(exp.exp_path, "ens", "exit", str(number)).read_text())["code"]
             for number in range(len(ensemble))]
    table = exp.summary()
    Path(mended).touch()
    exp.start(ensemble, only="failed")
    exp.start(consumer)
    tell(first=first, codes=codes, table=table, read=output(consumer),
         second=[str(state) for state in exp.get_status(ensemble)])
    exp.stop()
"""


@pytest.mark.timeout(600)
def test_an_ensemble_of_200_writes_what_a_consumer_reads_and_a_failing_tenth_runs_again(lab):
    found = lab.driver(WRITTEN, WRITER, READER, MEMBERS, timeout=500)
    failing = range(3, MEMBERS, 10)
    expected = ["Failed" if number in failing else "Completed" for number in range(MEMBERS)]
    assert found["first"] == expected
    assert found["codes"] == [7 if number in failing else 0 for number in range(MEMBERS)]
    assert found["second"] == ["Completed"] * MEMBERS
    assert json.loads(found["read"]) == list(range(MEMBERS))
    rows = [line for line in found["table"].splitlines() if "| Member " in line]
    assert ["| ens_3 " in rows[0], "| ens_13 " in rows[1], len(rows)] == [True, True, 20]
    assert all("| 7 " in line for line in rows)


def test_an_ensemble_and_a_database_too_large_for_an_array_are_several(narrow):
    lab = Lab(narrow, narrow.shared)
    code = """
    database = exp.create_database(db_nodes=3)
    code = "echo $HPCORCH_INDEX; exit $((HPCORCH_INDEX == 5))"
    settings = exp.create_run_settings("bash", ["-c", code])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=7)
    exp.start(database)
    client = database.client()
    client.put_tensor("x", np.arange(3))
    exp.start(ensemble)
    outputs = [Path(exp.exp_path, "ens", f"ens_{n}", f"ens_{n}.out") for n in range(7)]
    tell(
        x=client.get_tensor("x").tolist(),
        addresses=database.get_address(),
        active=database.is_active(),
        states=[str(state) for state in exp.get_status(ensemble)],
        table=exp.summary(),
        outputs=[path.read_text() for path in outputs],
    )
    exp.stop()
    tell(after=str(exp.get_status(database)[0]))
    """
    found = lab.driver(code)
    assert found["x"] == [0, 1, 2]
    assert len(found["addresses"]) == 3
    assert found["active"]
    assert found["states"] == ["Completed"] * 5 + ["Failed", "Completed"]
    assert found["outputs"] == [f"{number}\n" for number in range(7)]
    assert found["after"] == "Cancelled"
    until(lambda: not lab.jobs(), "the end of all jobs")


def test_in_an_allocation_members_are_steps_on_its_nodes(lab):
    code = """
    settings = exp.create_run_settings("bash", ["-c", sys.argv[1]])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=6)
    exp.start(ensemble)
    states = [str(state) for state in exp.get_status(ensemble)]
    outputs = [Path(exp.exp_path, "ens", f"ens_{n}", f"ens_{n}.out") for n in range(6)]
    tell(states=states, outputs=[path.read_text().split() for path in outputs])
    """
    # None ends before three have begun, for which a node of two has no room.
    program = """
    touch "begun.$HPCORCH_INDEX"
    until begun=(../*/begun.*) && ((${#begun[@]} >= 3)); do sleep 0.05; done
    echo $HPCORCH_INDEX $(uname -n); exit $((HPCORCH_INDEX == 4))
    """
    found = lab.driver(code, program, inside=["salloc", "-N2", "--ntasks-per-node=2"])
    assert found["states"] == ["Completed"] * 4 + ["Failed", "Completed"]
    assert [words[0] for words in found["outputs"]] == [str(number) for number in range(6)]
    assert len({words[1] for words in found["outputs"]}) == 2


def test_members_that_ask_for_different_nodes_are_two_arrays_of_one_run(lab):
    code = """
    ensemble = exp.create_ensemble(
        "ens", run_settings=exp.create_run_settings("bash", ["-c", sys.argv[1]]), replicas=5
    )
    for model in ensemble.models[1:4:2]:
        model.run_settings.set_nodes(2)
        model.run_settings.set_tasks_per_node(1)
    exp.start(ensemble)
    states = [str(state) for state in exp.get_status(ensemble)]
    outputs = [Path(exp.exp_path, "ens", f"ens_{n}", f"ens_{n}.out") for n in range(5)]
    tell(states=states, outputs=[path.read_text().split() for path in outputs], table=exp.summary())
    """
    found = lab.driver(code, "echo $HPCORCH_INDEX")
    assert found["states"] == ["Completed"] * 5
    assert found["outputs"] == [["0"], ["1", "1"], ["2"], ["3", "3"], ["4"]]
    (row,) = (line for line in found["table"].splitlines() if "| ens " in line)
    assert "_[0-2]," in row
