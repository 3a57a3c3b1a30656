"""The bash functions that decide about CPUs, on nodes larger than the one at hand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.describe.cpus import format_list
from hpcorch.describe.model import Model
from hpcorch.describe.settings import RunSettings
from hpcorch.paths import templates_dir
from hpcorch.plan import seats
from tests.helpers import fake_machine, model_job

_LIBRARIES = ("common", "network", "pin", "pin_shard", "node", "model", "rank", "colocate")


def bash(code: str, *args: str, check: bool = True) -> str:
    """Run code with the functions of the templates at hand."""
    sources = "".join(f"source '{templates_dir()}/lib/{name}.sh'\n" for name in _LIBRARIES)
    start = (
        "set -euo pipefail\nHPCORCH_NAME=t HPCORCH_INDEX=0\n"
        "exec {HPCORCH_OUTER}>/dev/null {HPCORCH_IDLE}<> <(:)\n"
    )
    done = subprocess.run(
        ["bash", "-c", f"{start}{sources}{code}", "_", *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is check, done.stdout + done.stderr
    return done.stdout.strip() if check else done.stderr.strip()


@given(st.sets(st.integers(0, 300), max_size=40))
def test_bash_reads_the_lists_that_python_writes(cpus):
    said = bash('hpcorch_expand "$1"; echo "${HPCORCH_NUMBERS[*]-}"', format_list(cpus))
    assert said == " ".join(map(str, sorted(cpus)))


@pytest.mark.parametrize(
    ("counts", "node", "expected"),
    [("4", 0, 4), ("4(x3),1", 2, 4), ("4(x3),1", 3, 1), ("1,2(x2),5", 1, 2), ("1,2(x2),5", 3, 5)],
)
def test_slurm_s_short_form_of_counts_is_read(counts, node, expected):
    said = bash('hpcorch_slurm_count "$1" "$2"; echo "$REPLY"', counts, str(node))
    assert int(said) == expected


def chosen(pins: str, allowed: str) -> str:
    code = 'HPCORCH_DB_CPUS=($1); hpcorch_expand "$2"; hpcorch_choose_cpus "${HPCORCH_NUMBERS[@]}"'
    return bash(code + '; echo "${HPCORCH_SERVER_CPUS[*]-}"', pins, allowed)


def test_numbers_count_inside_what_the_job_has():
    assert chosen("0 2 5", "4-6,9,16-20") == "4 6 17"
    assert chosen("", "4-6") == ""


@pytest.mark.parametrize(
    ("index", "host", "cpus", "refused"),
    [
        (2, "here", "5 6", "shard 0 has CPU 5 of here too: the batch system put both on one node"),
        (2, "here", "6 7", ""),
        (2, "there", "4 5", ""),
        (0, "here", "4 5", ""),
    ],
)
def test_no_two_shards_of_a_host_have_the_same_cpu(tmp_path, index, host, cpus, refused):
    """Shard 0 has the CPUs 4 and 5 of its host, shard 1 tells of none."""
    (tmp_path / "shards").mkdir()
    for number, own in enumerate(("4,5", "")):
        facts = f'{{"index":{number},"host":"here","cpus":"{own}"}}\n'
        (tmp_path / f"shards/{number}.json").write_text(facts)
    code = f"""
    HPCORCH_RUN_DIR=$1 HPCORCH_INDEX={index} HPCORCH_SERVER_CPUS=({cpus})
    uname() {{ echo {host}; }}
    hpcorch_refuse_shared_cpus
    """
    said = bash(code, str(tmp_path), check=not refused)
    assert said.endswith(refused)


@pytest.mark.parametrize(("letters", "fits"), [(48, True), (49, False)])
def test_the_path_of_a_socket_is_counted_in_bytes(letters, fits):
    code = """
    HPCORCH_NODE_DIR=$1 HPCORCH_SOCKET_PATH=""
    LC_ALL=C.UTF-8 hpcorch_choose_socket -
    echo "$HPCORCH_SOCKET"
    """
    said = bash(code, "/" + "ü" * letters, check=fits)
    assert said.endswith("/db.socket" if fits else "longer than 107 bytes: use a shorter TMPDIR")


def test_a_number_too_large_is_refused_with_the_allowed_ones():
    code = "HPCORCH_DB_CPUS=(0 3); hpcorch_choose_cpus 4 5 9"
    assert bash(code, check=False).endswith(
        "the database cannot have CPU number 3: this task may use 3 CPUs (4,5,9), numbered from 0"
    )


def domains(root: Path, allowed: str, per: str = "numa") -> list[str]:
    code = (
        'HPCORCH_TOPOLOGY=$1 HPCORCH_PER=$3; hpcorch_expand "$2"; '
        'HPCORCH_ALLOWED=("${HPCORCH_NUMBERS[@]}"); hpcorch_domains; '
        'printf "%s\\n" "${HPCORCH_DOMAINS[@]}"'
    )
    return bash(code, str(root), allowed, per).splitlines()


def test_domains_hold_only_what_the_job_has_of_them(tmp_path):
    for number, cpus in enumerate(["0-3,16-19", "4-7,20-23", "8-11", ""]):
        (tmp_path / f"node{number}").mkdir()
        (tmp_path / f"node{number}/cpulist").write_text(cpus + "\n")
    assert domains(tmp_path, "2-5,17,23") == ["0 2 3 17", "1 4 5 23"]
    assert domains(tmp_path, "8,9") == ["2 8 9"]
    assert domains(tmp_path, "2-5", per="node") == ["- 2 3 4 5"]
    assert domains(tmp_path / "none", "2-5") == ["- 2 3 4 5"]


# mine, taken, near, servers, limit: what the program is kept to; nothing when it keeps its own.
PLACES = [
    ("0-7", "0,1", "0-7", 1, 1, "2,3,4,5,6,7"),
    ("0-7", "", "0-7", 1, 1, ""),
    ("0-7", "0,1", "0-7", 1, 0, ""),
    ("4,5", "0,1", "0-7", 1, 1, ""),
    ("1", "0,1", "0-7", 1, 1, "2,3,4,5,6,7"),
    ("1,2", "0,1", "0-7", 1, 1, "2"),
    ("0,1", "0,1", "0,1", 1, 1, ""),
    ("0-7", "4", "4-7", 2, 1, "5,6,7"),
    ("0-7", "4", "4-7", 2, 0, "4,5,6,7"),
    ("4", "4", "4-7", 2, 1, "5,6,7"),
    ("0", "4", "4-7", 2, 1, "5,6,7"),
]


@pytest.mark.parametrize(("mine", "taken", "near", "servers", "limit", "expected"), PLACES)
def test_a_process_keeps_its_cpus_but_the_server_s(mine, taken, near, servers, limit, expected):
    code = """
numbers() { hpcorch_expand "$1"; REPLY="${HPCORCH_NUMBERS[*]-}"; }
numbers "$1"; HPCORCH_MINE=($REPLY)
numbers "$2"; HPCORCH_TAKEN=($REPLY)
numbers "$3"; HPCORCH_NEAR=($REPLY)
for ((i = 0; i < $4; i++)); do HPCORCH_SERVERS+=(x); done
HPCORCH_LIMIT_APP=$5
hpcorch_pin_rank
echo "${HPCORCH_PIN_APP[*]-}"
"""
    said = bash(code, mine, taken, near, str(servers), str(limit))
    assert said == (f"taskset -c {expected}" if expected else "")


# Local rank, its CPUs: the domain whose server it gets; unbound ones are spread in blocks.
CHOICES = [
    (0, 8, "0-7", "0"),
    (3, 8, "0-7", "0"),
    (4, 8, "0-7", "1"),
    (7, 8, "0-7", "1"),
    (0, 8, "5", "1"),
    (7, 8, "2,3", "0"),
    (2, 3, "3,4", "1"),
]


@pytest.mark.parametrize(("rank", "size", "mine", "expected"), CHOICES)
def test_a_process_gets_the_nearest_server(rank, size, mine, expected):
    code = """
HPCORCH_LOCAL_RANK=$1 HPCORCH_LOCAL_SIZE=$2 HPCORCH_SUFFIX="" HPCORCH_SHARED=/none
HPCORCH_SERVERS=("0 0 0,1,2,3 unix:///a b/0" "1 - 4,5,6,7 unix:///a b/1") HPCORCH_PROGRAM_ENV=()
mine=$3
hpcorch_cpus_of() { hpcorch_expand "$mine"; }
hpcorch_choose_server
printf '%s\\n' "${HPCORCH_PROGRAM_ENV[@]}"
"""
    said = bash(code, str(rank), str(size), mine)
    assert said.splitlines() == [f"SSDB=unix:///a b/{expected}", "SR_DB_TYPE=Standalone"]


@given(
    st.sets(st.integers(0, 40), min_size=1, max_size=12),
    st.sets(st.integers(0, 11), max_size=5),
    st.booleans(),
)
def test_the_scripts_do_what_the_picture_shows(allowed, pins, limit):
    """An unbound process beside one server, as Python plans it and as bash does it."""
    pins = {pin for pin in pins if pin < len(allowed)}
    model = Model("m", RunSettings("m"))
    model.colocate_db_uds(custom_pinning=sorted(pins), limit_app_cpus=limit)
    job = model_job(model, "/x", "/m", machine=fake_machine())
    (found,) = seats(job, sorted(allowed), {})
    code = """
hpcorch_expand "$1"
HPCORCH_MINE=("${HPCORCH_NUMBERS[@]}") HPCORCH_NEAR=("${HPCORCH_NUMBERS[@]}")
HPCORCH_SERVERS=(x) HPCORCH_DB_CPUS=($2) HPCORCH_LIMIT_APP=$3
hpcorch_choose_cpus "${HPCORCH_MINE[@]}"
HPCORCH_TAKEN=(${HPCORCH_SERVER_CPUS[@]+"${HPCORCH_SERVER_CPUS[@]}"})
hpcorch_pin_rank 2>/dev/null
hpcorch_join "${HPCORCH_MINE[@]}"
echo "${HPCORCH_TAKEN[*]-}:${HPCORCH_PIN_APP[2]-$REPLY}"
"""
    said = bash(code, format_list(allowed), " ".join(map(str, sorted(pins))), str(int(limit)))
    server, _, program = said.partition(":")
    seen = dict(found.places)
    assert tuple(map(int, server.split())) == (seen["server"] if pins else ())
    assert tuple(map(int, program.split(","))) == seen["program"]


HAS = """
ip() { printf '%s\\n' "2: eth0 inet 10.0.0.5/24 brd x" "3: ib1 inet 10.1.0.5/16"; }
"""


@pytest.mark.parametrize(
    ("stands_for", "expected"),
    [
        (["10.1.0.5"], "10.1.0.5"),
        # Debian gives a host's own name an address that nobody else can reach.
        (["127.0.1.1", "10.1.0.5"], "10.1.0.5"),
        # A name that several hosts share, or one beside an address of another network.
        (["203.0.113.7", "10.1.0.5"], "10.1.0.5"),
        (["203.0.113.7"], "10.0.0.5"),
        (["127.0.1.1"], "10.0.0.5"),
        ([], "10.0.0.5"),
    ],
)
def test_a_node_s_name_may_stand_for_several_addresses(stands_for, expected):
    lines = "".join(f"{item} STREAM\n{item} DGRAM\n" for item in stands_for)
    names = f"getent() {{ printf '%s' {lines!r}; }}\n".replace("'%s'", "'%b'")
    assert bash(f"{HAS}{names}hpcorch_interface_ip auto; echo $REPLY") == expected


def test_a_node_without_ip_takes_what_its_name_stands_for():
    code = "ip() { return 127; }; getent() { printf '127.0.1.1 x\\n10.3.0.1 x\\n'; }\n"
    assert bash(f"{code}hpcorch_interface_ip auto; echo $REPLY") == "10.3.0.1"
    code = "ip() { return 127; }; getent() { return 2; }\n"
    said = bash(f"{code}hpcorch_addresses auto", check=False)
    assert "network interface auto has no IPv4 address on" in said


def test_a_request_to_end_reaches_the_task_that_is_about_to_start(tmp_path):
    """The supervisor gets it between its last look at the request and the start of the task."""
    code = f"""
    source {templates_dir()}/local/supervise.sh
    HPCORCH_RUN_DIR=$1 HPCORCH_ELEMENTS=2 HPCORCH_TABLE_ROWS=2
    hpcorch_has_record() {{ kill -TERM $$; return 1; }}
    hpcorch_launch_task() {{ exec sleep 600; }}
    hpcorch_record() {{ echo "task $1 ended with $3" >&2; }}
    hpcorch_supervise script token
    """
    assert bash(code, str(tmp_path), check=False) == "task 0 ended with 143"


def test_a_directory_that_somebody_else_has_planted_is_refused(tmp_path):
    """Who sees its name on the first node of a program could make it on the next."""
    code = """
    HPCORCH_NODE=n2 HPCORCH_SHARED=$1 HPCORCH_BOOT_SECONDS=1
    hpcorch_fail() { echo "$*" >&2; exit 1; }
    hpcorch_join_node
    """
    planted, link = tmp_path / "planted", tmp_path / "link"
    planted.mkdir()
    (planted / "lock").touch()
    os.chown(planted, 12345, 12345)
    link.symlink_to(tmp_path)
    for path in (planted, link):
        assert f"{path} on n2 was made by somebody else" in bash(code, str(path), check=False)
