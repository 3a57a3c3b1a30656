"""The test bed is what it claims to be, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import until
from tests.testbed import packages
from tests.testbed.cleanup import take_lock
from tests.testbed.cluster import Cluster
from tests.testbed.errors import ClusterError, CommandFailed
from tests.testbed.layout import BASE, LOGIN, PREFIX, address
from tests.testbed.processes import alive
from tests.testbed.traces import TESTBED, Place, started

pytestmark = pytest.mark.cluster

# An argument by which a process is found again.
MARK = f"4{os.getpid()}"


@pytest.fixture
def place() -> Place:
    # Its name is none by which other sessions find what they may remove.
    return Place(BASE / f"own-{PREFIX}-{os.getpid()}", MARK)


def submit(cluster: Cluster, script: str, *options: str | Path) -> str:
    """Submit a batch job to the cluster and return its id."""
    command = ["sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}"]
    return cluster.run(command).stdout.strip()


def reach(cluster: Cluster, job: str, states: set[str], seconds: float = 30) -> None:
    """Wait until all elements of the job are in one of the states."""

    def reached() -> bool:
        found = set(cluster.job_states(job))
        return bool(found) and found <= states

    until(reached, f"job {job} in {states}", seconds)


def test_every_host_has_its_own_name_address_processes_and_interfaces(cluster: Cluster) -> None:
    script = "echo $(hostname) $(hostname -I) $(ls /sys/class/net) $(readlink /proc/self/ns/pid)"
    rows = [
        line.split() for line in cluster.run(["srun", "-N4", "sh", "-c", script]).stdout.split("\n")
    ]
    found = {row[0]: row[1] for row in rows if row}
    assert found == {f"node{i}": f"10.77.0.{10 + i}" for i in (1, 2, 3, 4)}
    assert all(row[2:4] == ["eth0", "lo"] for row in rows if row)
    assert len({row[4] for row in rows if row}) == 4
    assert cluster.run(["hostname", "-I"]).stdout.split() == [address(LOGIN)]
    assert cluster.run(["getent", "hosts", "node2"], node="node3").stdout.split()[0] == "10.77.0.12"


def test_an_array_runs_on_several_nodes(cluster: Cluster, shared_path: Path) -> None:
    script = f"hostname > {shared_path}/$SLURM_ARRAY_TASK_ID"
    job = submit(cluster, script, "--array=0-7", "--cpus-per-task=4")
    reach(cluster, job, {"COMPLETED"})
    assert len(cluster.job_states(job)) == 8
    hosts = [(shared_path / str(index)).read_text().strip() for index in range(8)]
    assert set(hosts) == {"node1", "node2", "node3", "node4"}


def test_tmp_and_memory_are_each_nodes_own_and_shared_is_everybodys(
    cluster: Cluster, shared_path: Path, tmp_path: Path
) -> None:
    name = f"hpcorch-{MARK}"
    script = f"touch /tmp/{name} /dev/shm/{name} {shared_path}/$(hostname)"
    cluster.run(["srun", "-N2", "-w", "node1,node2", "sh", "-c", script])
    for folder in ("/tmp", "/dev/shm"):
        assert name in cluster.run(["ls", folder], node="node1").stdout
        assert name not in cluster.run(["ls", folder], node="node3").stdout
        assert not Path(folder, name).exists()
    assert {path.name for path in shared_path.iterdir()} == {"node1", "node2"}
    assert "node1" in cluster.run(["ls", shared_path], node="node4").stdout
    assert cluster.run(["ls", tmp_path]).returncode == 0
    assert cluster.run(["ls", tmp_path], node="node1", check=False).returncode != 0


def test_commands_run_as_asked(cluster: Cluster, shared_path: Path) -> None:
    shown = cluster.run(["sh", "-c", "pwd; id -un; echo $HOME $SIGN"], user="nobody", cwd="/")
    assert shown.stdout.split() == ["/", "nobody", "/nonexistent"]
    on_node = cluster.run(
        ["sh", "-c", "pwd; hostname; echo $SIGN; cat"],
        node="node2",
        env={"SIGN": "Libra"},
        cwd=shared_path,
        stdin="typed",
    )
    assert on_node.stdout.split() == [str(shared_path), "node2", "Libra", "typed"]
    assert cluster.run(["srun", "id", "-un"], user="nobody").stdout.strip() == "nobody"
    with pytest.raises(CommandFailed, match=r"(?s)status 3 .*not well"):
        cluster.run(["sh", "-c", "echo not well >&2; exit 3"], node="node1")
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.run(["sleep", MARK], node="node1", timeout=0.2)
    until(lambda: not cluster.node_processes("node1"), "the end of what took too long")


def test_processes_of_jobs_are_seen_on_their_node(cluster: Cluster) -> None:
    def sleeping(node: str) -> bool:
        return any(words == f"sleep {MARK}" for _, words in cluster.node_processes(node))

    job = submit(cluster, f"sleep {MARK}", "-w", "node3")
    until(lambda: sleeping("node3"), "the job's process")
    assert not sleeping("node2")
    cluster.run(["scancel", job])
    cluster.wait_idle()
    until(lambda: not cluster.node_processes("node3"), "the end of all processes")


def test_power_off_ends_everything_on_the_node_and_its_jobs(cluster: Cluster) -> None:
    job = submit(cluster, "sleep 300", "-w", "node2", "--no-requeue")
    reach(cluster, job, {"RUNNING"})
    until(lambda: cluster.node_processes("node2"), "the job's processes")
    pids = [pid for pid, _ in cluster.node_processes("node2")]
    cluster.node_lost("node2")
    assert not any(alive(pid) for pid in pids)
    reach(cluster, job, {"NODE_FAIL"})
    with pytest.raises(ClusterError, match="node2 is not up"):
        cluster.run(["true"], node="node2")
    cluster.node_up("node2")
    cluster.wait_idle()
    assert cluster.run(["srun", "-w", "node2", "hostname"]).stdout.strip() == "node2"


def test_slurm_notices_a_dead_node_by_itself() -> None:
    """On a cluster with short times, beside the others: two can be up at once."""
    quick = {"SlurmdTimeout": "5", "MessageTimeout": "2", "tcptimeout": "1"}
    with Cluster(nodes=2, settings=quick) as cluster:
        shown = cluster.run(["scontrol", "show", "config"]).stdout
        assert re.search(r"TCPTimeout += 1 sec", shown, re.IGNORECASE)
        job = submit(cluster, "sleep 300", "-w", "node2", "--no-requeue")
        reach(cluster, job, {"RUNNING"})
        cluster.node_down("node2")
        reach(cluster, job, {"NODE_FAIL"}, 40)
        # With times so short, the other node may have been too slow for a moment as well.
        wanted = {"node1": "idle", "node2": "down*"}
        until(lambda: cluster.node_states() == wanted, f"the states {wanted}")


def test_a_cable_can_be_pulled(cluster: Cluster) -> None:
    def reachable() -> bool:
        connect = "timeout 1 bash -c '</dev/tcp/node4/6818'"
        return cluster.run(["sh", "-c", connect], check=False).returncode == 0

    until(reachable, "node4 on the network")
    cluster.net_down("node4")
    assert not reachable()
    cluster.net_up("node4")
    until(reachable, "node4 on the network again")


def test_jobs_outlive_the_controller_and_slurmd(cluster: Cluster, shared_path: Path) -> None:
    go = shared_path / "go"
    job = submit(cluster, f"until [ -e {go} ]; do sleep 0.05; done", "-w", "node1")
    reach(cluster, job, {"RUNNING"})
    cluster.slurmctld_stop()
    assert "is DOWN" in cluster.run(["scontrol", "ping"], check=False).stdout
    with pytest.raises(ClusterError, match="slurmctld is not running"):
        cluster.slurmctld_stop()
    cluster.slurmctld_start()
    reach(cluster, job, {"RUNNING"})
    cluster.slurmd_stop("node1")
    assert any("slurm_script" in words for _, words in cluster.node_processes("node1"))
    cluster.slurmd_start("node1")
    go.touch()
    reach(cluster, job, {"COMPLETED"})


def test_an_order_whose_giver_has_gone_does_no_harm(cluster: Cluster) -> None:
    for message in (b"", b"{}\n", b'{"action": "restore", "node": ""}\n'):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(cluster.layout.control))
            client.sendall(message)
    with pytest.raises(ClusterError, match="there is no node 'node9', only node1, node2"):
        cluster.node_down("node9")


def test_accounting_remembers_jobs(accounting_cluster: Cluster) -> None:
    cluster = accounting_cluster
    job = submit(cluster, "exit 3", "-w", "node3")
    asked = ["sacct", "-n", "-P", "-X", "-j", job, "-o", "State,ExitCode,NodeList"]
    until(lambda: cluster.run(asked).stdout.strip() == "FAILED|3:0|node3", "sacct's answer")
    cluster.slurmdbd_stop()
    assert cluster.run(asked, check=False).returncode == 1
    cluster.slurmdbd_start()
    assert cluster.run(asked).stdout.strip() == "FAILED|3:0|node3"


def test_without_accounting_sacct_says_so(cluster: Cluster) -> None:
    answer = cluster.run(["sacct"], check=False)
    assert (answer.returncode, answer.stderr) == (1, "Slurm accounting storage is disabled\n")


def test_run_takes_over_the_exit_status_and_leaves_nothing(place: Place) -> None:
    result = subprocess.run(
        [*place.testbed("run"), "--nodes=1", "--", "sh", "-c", "hostname; srun hostname; exit 5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (5, "login\nnode1\n"), result.stderr
    until(lambda: not place.left(), "the end of everything")


@pytest.mark.parametrize("victim", ["runner", "watchdog"])
def test_nothing_is_left_when_somebody_is_killed(victim: str, place: Place) -> None:
    # One process on a node, and one on the login node that has made itself independent.
    script = f"srun sleep {MARK} & setsid sleep {MARK} & wait"
    command = [*place.testbed("run"), "--nodes=2", "--", "sh", "-c", script]
    with started(command) as runner:
        place.remember(hosts=2)
        if victim == "runner":
            runner.kill()
        else:
            os.kill(int((place.directory / "pid/watchdog").read_text()), signal.SIGKILL)
            # The kernel ends what is on the nodes. Files, and processes that came to the login
            # node from outside, are removed by whoever comes next.
            until(lambda: not place.left(inside=True), "the end of all nodes")
            subprocess.run(place.testbed("down"), check=True, stdout=subprocess.DEVNULL)
    until(lambda: not place.left(), "the removal of everything")


def test_nothing_is_left_when_the_process_with_a_cluster_is_killed(place: Place) -> None:
    script = (
        "from pathlib import Path\n"
        "from tests.testbed.cluster import Cluster\n"
        f"cluster = Cluster(nodes=1, directory=Path({str(place.directory)!r})).up()\n"
        f"cluster.popen(['sleep', '{MARK}'], node='node1')\n"
        f"cluster.run(['sleep', '{MARK}'])\n"
    )
    with started([sys.executable, "-c", script]) as owner:
        place.remember(hosts=2)
        owner.kill()
    until(lambda: not place.left(), "the removal of everything")


def test_files_of_a_cluster_that_was_killed_are_removed_by_the_next() -> None:
    cluster = Cluster(nodes=1).up()
    directory = cluster.layout.directory
    os.kill(int((directory / "pid/watchdog").read_text()), signal.SIGKILL)
    # Whoever has the lock is the only one who may remove them. Another test's cluster that comes
    # up just now may be the next one, too.
    lock = until(
        lambda: take_lock(cluster.layout) or not directory.exists(), "the end of the cluster"
    )
    if lock is not True:
        assert directory.exists()
        os.close(lock)
    with Cluster(nodes=1):
        until(lambda: not directory.exists(), "the removal of the files")
    cluster.down()


def test_a_persons_cluster(place: Place, tmp_path: Path) -> None:
    """The commands `up`, `env`, `exec`, `ctl`, `status` and `down`."""

    def testbed(*words: str) -> str:
        return subprocess.check_output(place.testbed(*words), text=True)

    try:
        assert "testbed env" in testbed("up", "--nodes=2", f"--shared={tmp_path}")
        # A job is still on its way out when its srun has ended.
        ended = 'until [ -z "$(squeue -h)" ]; do sleep 0.05; done'
        shell = f"{testbed('env')} cd {tmp_path}; srun -N2 hostname | sort; {ended}; pwd"
        shown = subprocess.check_output(["sh", "-c", shell], text=True)
        assert shown.split() == ["node1", "node2", str(tmp_path)]
        assert testbed("exec", "--node=node2", "--", "hostname") == "node2\n"
        testbed("ctl", "node-down", "node2")
        testbed("ctl", "restore")
        until(lambda: re.search(r"node2 .* idle\n", testbed("status")), "node2 back")
    finally:
        testbed("down")
    # Whoever has watched over the cluster ends a moment after it.
    until(lambda: place.left() == [], "the end of everything")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "SYSTEM_PATH", "/nonexistent")
    with pytest.raises(ClusterError, match=r"apt-get install .* munge .* slurmctld slurmd util"):
        Cluster(nodes=1).up()


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (["--reuid=65534"], "run it as root"),
        (["--bounding-set=-sys_admin"], "CAP_SYS_ADMIN and CAP_NET_ADMIN are needed"),
        (["--bounding-set=-net_admin"], "CAP_SYS_ADMIN and CAP_NET_ADMIN are needed"),
    ],
)
def test_what_is_not_allowed_is_named(loss: list[str], says: str) -> None:
    command = ["setpriv", *loss, *TESTBED, "run", "--nodes=1", "--", "true"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
