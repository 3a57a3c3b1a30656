"""The pretended PBS against the recordings of a real one: formats, refusals, environments, ends."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakebin.fakepbs import show
from tests.fakebin.pbs import FakePbs
from tests.helpers import is_alive, kill, processes, until
from tests.schedulers import pbs_transcript

SHOTS = pbs_transcript.load()
RECORD = re.compile(r"^Job Id: (\S+)\n((?:    .*\n|\t.*\n)+)\n", re.MULTILINE)
ATTRIBUTE = re.compile(r"^ {4}([\w.]+) = (.*(?:\n\t.*)*)$", re.MULTILINE)
# Recorded for other clients, which indent by blanks, or print lines of any length.
OTHER_FORMS = ("oldclient", "qstat-json-escape", "qstat-f-w-")
SLEEP = "#!/bin/bash\nsleep ${T:-60}\n"


@pytest.fixture(scope="module")
def pbs() -> Iterator[FakePbs]:
    with FakePbs(history=True) as pbs:
        for name in ("sleep5.sh", "noreq.sh"):
            (pbs.root / name).write_text(SLEEP)
        (pbs.root / "dd").mkdir()
        (pbs.root / "crlf.sh").write_bytes(b"#!/bin/bash\r\nid\r\n")
        (pbs.root / "badopt.sh").write_text("#!/bin/bash\n#PBS -Y\nid\n")
        (pbs.root / "badopt2.sh").write_text("#!/bin/bash\n#PBS -l walltime 1:00\nid\n")
        (pbs.root / "badopt3.sh").write_text(
            "#!/bin/bash\n#PBS -l select=1:ncpus=1 -l wall time=1:00\nid\n"
        )
        yield pbs


@pytest.fixture
def quiet(pbs: FakePbs) -> Iterator[FakePbs]:
    """The same with nothing in it and nothing set."""
    pbs.set(history=True, scheduling=True, kill_delay=10.0, faults={})
    yield pbs
    if pbs.queued():
        pbs.run("qdel", "-W", "force", *pbs.queued())
        until(lambda: not pbs.queued(), "an empty queue")


def submit(pbs: FakePbs, *words: str, script: str = SLEEP) -> str:
    (pbs.root / "job.sh").write_text(script)
    done = pbs.run("qsub", *words, "job.sh")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def full(pbs: FakePbs, job: str) -> dict[str, str]:
    """Return the attributes that `qstat -x -f` shows."""
    text = pbs.run("qstat", "-x", "-f", job).stdout
    return {key: value.replace("\n\t", "") for key, value in ATTRIBUTE.findall(text)}


def records() -> list[tuple[str, str]]:
    """Return the names of the transcripts with whole records, and each record."""
    found = []
    for name, shot in SHOTS.items():
        for match in RECORD.finditer(shot.out):
            if "project = " in match[0] and not name.startswith(OTHER_FORMS):
                found.append((name, match[0]))
    return found


def test_records_are_printed_byte_for_byte():
    assert len(records()) > 10
    for name, text in records():
        found = RECORD.fullmatch(text)
        assert found
        facts = [(key, value.replace("\n\t", "")) for key, value in ATTRIBUTE.findall(found[2])]
        assert show.full("Job Id", found[1], facts) == text, name


def flat(tree: dict[str, object]) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in tree.items():
        if key == "Variable_List" and isinstance(value, dict):
            texts = {True: "true", False: "false", None: "null"}
            # 1 equals True, and is no key of its own.
            pairs = [
                (name, item if type(item) is int else texts.get(item, item))
                for name, item in value.items()
            ]
            facts.append((key, ",".join(f"{name}={item}" for name, item in pairs)))
        elif isinstance(value, dict):
            facts += [(f"{key}.{name}", str(item)) for name, item in value.items()]
        else:
            facts.append((key, str(value)))
    return facts


def test_json_is_printed_byte_for_byte():
    whole = re.compile(r'\{\n\t"timestamp".*"Jobs".*\n\}\n', re.DOTALL)
    texts = [shot.out for shot in SHOTS.values() if whole.fullmatch(shot.out)]
    assert texts
    for text in texts:
        tree = json.loads(text)
        jobs = [(job, flat(facts)) for job, facts in tree["Jobs"].items()]
        assert show.as_json("Jobs", jobs, tree["timestamp"]) == text


def keys(text: str) -> list[str]:
    # What a job used was measured, and what was chosen by its own submission differs.
    varies = re.compile(r"resources_used|session_id|history_timestamp|jobdir|obittime|stime|egroup")
    return [key for key, _ in ATTRIBUTE.findall(text) if not varies.match(key)]


def test_attributes_are_those_of_recorded_jobs_in_their_order(quiet):
    running = submit(quiet, "-l", "select=2:ncpus=2+1:ncpus=1", "-l", "place=scatter:excl")
    until(lambda: quiet.states(running) == "R", "the start of the job")
    shown = keys(quiet.run("qstat", "-f", running).stdout)
    recorded = keys(SHOTS["qstat-f-multichunk-running"].out)
    assert shown == [key for key in recorded if key != "Resource_List.mpiprocs"]
    quiet.run("qdel", running)
    until(lambda: not quiet.queued(), "the end of the job")
    assert keys(quiet.run("qstat", "-x", "-f", running).stdout) == keys(
        SHOTS["qstat-xf-qdeld-running"].out
    )
    array = submit(quiet, "-J", "0-5", "-l", "select=1:ncpus=4", "-l", "place=scatter:excl")
    until(lambda: quiet.states(array) == "BRRRRRQ", "the start of five tasks")
    assert keys(quiet.run("qstat", "-f", array).stdout) == keys(SHOTS["qstat-array-f"].out)
    task = array.replace("[]", "[1]")
    assert keys(quiet.run("qstat", "-f", task).stdout) == keys(SHOTS["qstat-subjob-f"].out)


# Calls whose whole answer is the same, whatever the number of the job.
SAME = sorted(
    name
    for name in SHOTS
    if (name.startswith("qsub-err-") and SHOTS[name].code)
    or name in ("qsub-version", "qstat-unknown", "qdel-unknown", "qdel-malformed", "qdel-noargs")
)
# They need another server than ours: its queues, its limits, a terminal.
OTHER_SERVERS = re.compile("queue-|max-queued|interactive|bad-server|bad-time|depend-syntax")


@pytest.mark.parametrize("name", [name for name in SAME if not OTHER_SERVERS.search(name)])
def test_what_is_refused_is_refused_in_the_same_words(pbs, name):
    shot = SHOTS[name]
    words = shlex.split(shot.command.rpartition("&& ")[2].partition(";")[0])
    done = pbs.run(*words)
    # Two calls were recorded in one of them.
    out = shot.out if ";" not in shot.command else shot.out.splitlines(keepends=True)[0]
    assert (done.stdout, done.stderr, done.returncode) == (out, shot.err, shot.code)


def variables(text: str) -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "options"), [("env-single-job", []), ("env-array-subjobs", ["-J", "0-1"])]
)
def test_a_task_finds_the_variables_that_were_recorded(quiet, name, options):
    # The lines of one task stay together.
    code = 'env; printf "%s\\n" "$(umask)" "$PWD" "$0"\n'
    job = submit(quiet, *options, "-j", "oe", "-o", str(quiet.root / "env"), script=code)
    until(lambda: not quiet.queued(), "the end of the job")
    said = (quiet.root / "env").read_text()
    # Some come from the shell, and from the test's own submission.
    recorded = variables(SHOTS[name].out) - {"A", "B", "MANPATH", "SHLVL", "PWD"}
    assert recorded <= variables(said)
    # A list of PBS's own variables only was recorded of the tasks.
    assert {key for key in variables(said) - recorded if "PBS" in key} == {"PBS_CONF_FILE"}
    assert f"0077\n{quiet.root}/home\n{quiet.root}/spool/" in said
    assert f"PBS_JOBID={job.replace('[]', '[0]')}\n" in said
    (quiet.root / "env").unlink()


@pytest.mark.parametrize(
    ("script", "status", "substate", "ending"),
    [
        ("exit 0", "0", "92", "and finished"),
        ("exit 3", "3", "93", "and failed"),
        ("kill -9 $$", "137", "93", "and failed"),
        ("kill -SEGV $$", "139", "93", "and failed"),
    ],
)
def test_ends_are_shown_as_they_were_recorded(quiet, script, status, substate, ending):
    job = submit(quiet, script=script)
    until(lambda: not quiet.queued(), "the end of the job")
    shown = full(quiet, job)
    assert (shown["job_state"], shown["Exit_status"], shown["substate"]) == ("F", status, substate)
    assert shown["comment"].endswith(ending)


def test_the_end_of_the_walltime_is_told_as_it_was_recorded(quiet):
    job = submit(quiet, "-l", "walltime=1")
    until(lambda: not quiet.queued(), "the end of the job")
    shown = full(quiet, job)
    assert (shown["Exit_status"], shown["substate"]) == ("-29", "93")
    assert shown["comment"].endswith("and exceeded resource walltime")


def test_deleting_signals_the_whole_session_and_nothing_else(quiet):
    code = """
    trap 'echo script got TERM; kill $!; exit 77' TERM
    setsid sleep 71717 &
    echo $! >escaped
    bash -c 'trap "echo child got TERM; exit" TERM; echo ready; sleep 60 & wait' &
    sleep 60 & wait
    """
    job = submit(quiet, "-j", "oe", "-k", "doe", "-o", str(quiet.root / "out"), script=code)
    log = quiet.root / "out"
    until(lambda: log.exists() and "ready" in log.read_text(), "the start of the script")
    escaped = int((quiet.root / "home/escaped").read_text())
    until(lambda: os.getsid(escaped) == escaped, "its own session")
    assert quiet.run("qdel", job).returncode == 0
    until(lambda: not quiet.queued(), "the end of the job")
    assert sorted(log.read_text().splitlines()) == ["child got TERM", "ready", "script got TERM"]
    assert full(quiet, job)["Exit_status"] == "271"
    assert is_alive(escaped)
    kill(escaped)
    log.unlink()


def test_what_ignores_sigterm_is_killed_later_or_at_once_by_force(quiet):
    stubborn = "trap '' TERM\ntouch \"$PBS_O_WORKDIR/$PBS_JOBID\"\nwhile :; do sleep 1; done"
    quiet.set(kill_delay=0.5)
    for options, status in (([], "271"), (["-W", "force"], "265")):
        job = submit(quiet, script=stubborn)
        until((quiet.root / job).exists, "the start of the script")
        quiet.run("qdel", *options, job)
        until(lambda: not quiet.queued(), "the end of the job")
        assert full(quiet, job)["Exit_status"] == status


def test_without_history_the_tasks_of_an_array_all_end_in_the_same_made_up_way(quiet):
    quiet.set(history=False)
    code = "[[ $PBS_ARRAY_INDEX == 2 ]] && exec sleep 60\nexit $PBS_ARRAY_INDEX"
    array = submit(quiet, "-J", "0-2", script=code)
    until(lambda: quiet.states(array) == "BXXR", "the end of two tasks")
    for index in (0, 1):
        text = quiet.run("qstat", "-f", array.replace("[]", f"[{index}]")).stdout
        assert "    job_state = X\n" in text
        assert "    comment = Subjob finished\n    Exit_status = 1\n" in text
    asked = quiet.run("qstat", "-x", "-f", array)
    words = f"qstat: PBS is not configured to maintain job history {array}\n"
    assert (asked.stdout, asked.stderr, asked.returncode) == ("", words, 0)
    quiet.run("qdel", array)
    until(lambda: not quiet.queued(), "the end of the array")
    gone = quiet.run("qstat", "-f", array)
    assert (gone.stderr, gone.returncode) == (f"qstat: Unknown Job Id {array}\n", 153)


def test_deleting_an_array_spoils_the_records_of_its_tasks_that_had_ended(quiet):
    code = "[[ $PBS_ARRAY_INDEX == 1 ]] && exec sleep 60\nexit 0"
    array = submit(quiet, "-J", "0-1", script=code)
    until(lambda: quiet.states(array) == "BXR", "the end of one task")
    first, second = array.replace("[]", "[0]"), array.replace("[]", "[1]")
    assert full(quiet, first)["Exit_status"] == "0"
    quiet.run("qdel", array)
    until(lambda: not quiet.queued(), "the end of the array")
    assert full(quiet, first)["comment"] == "Subjob finished"
    assert full(quiet, second)["Exit_status"] == "271"
    done = quiet.run("qstat", "-f", array)
    assert done.returncode == 35
    assert "Job has finished, use -x or -H to obtain" in done.stderr


def test_places_are_taken_as_recorded(quiet):
    """Arrays are packed unless each task wants its node for itself."""

    def hosts(array: str) -> list[str]:
        ids = [array.replace("[]", f"[{index}]") for index in range(3)]
        return [full(quiet, task)["exec_host"].partition("/")[0] for task in ids]

    packed = submit(quiet, "-J", "0-2", "-l", "select=1:ncpus=1", "-l", "place=scatter")
    until(lambda: quiet.states(packed) == "BRRR", "the start of the tasks")
    assert hosts(packed) == ["cn1"] * 3
    alone = submit(quiet, "-J", "0-2", "-l", "select=1:ncpus=1", "-l", "place=excl")
    until(lambda: quiet.states(alone) == "BRRR", "the start of the tasks")
    assert hosts(alone) == ["cn2", "cn3", "cn4"]
    never = submit(quiet, "-l", "select=50:ncpus=2")
    assert full(quiet, never)["comment"].startswith("Can Never Run: Insufficient amount")


def test_json_of_several_jobs_is_that_of_the_first(quiet):
    ids = [submit(quiet, "-h") for _ in range(3)]
    done = quiet.run("qstat", "-f", "-F", "json", *ids)
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["Jobs"]) == ids[:1]
    assert "Jobs" not in json.loads(quiet.run("qstat", "-f", "-F", "json", "424242").stdout)


@pytest.mark.parametrize("program", ["qstat", "qsub", "qselect", "qdel"])
def test_a_server_that_is_down_is_told_of_in_the_same_words(tmp_path, program):
    with FakePbs() as down:
        down.end()
        words = {"qsub": ["qsub", "noreq.sh"], "qdel": ["qdel", "206.head"]}
        words |= {"qstat": ["qstat", "206.head"]}
        done = down.run(*words.get(program, [program]))
        name = {"qstat": "qstat-id"}.get(program, program)
        shot = SHOTS[f"server-down-{name}"]
        assert (done.stdout, done.stderr, done.returncode) == ("", shot.err, shot.code)


def test_processes_on_other_nodes_belong_to_the_job(quiet):
    code = """
    pbsdsh -n 1 -- /bin/bash -c 'echo $PBS_NODENUM $PWD $PATH; sleep 60; exit 3' &
    wait
    echo pbsdsh $?
    """
    words = ("-l", "select=2:ncpus=1", "-l", "place=scatter", "-j", "oe", "-o", "dsh")
    job = submit(quiet, *words, script=code)
    log = quiet.root / "dsh"
    where = f"1 {quiet.root}/home /bin:/usr/bin\n"
    until(lambda: log.exists() and where in log.read_text(), "the process on the other node")
    quiet.run("qdel", job)
    until(lambda: not quiet.queued(), "the end of the job")
    until(lambda: not processes(log), "the end of the process on the other node")


@pytest.mark.parametrize(("program", "code"), [("pbsdsh", 1), ("pbs_tmrsh", 255)])
def test_outside_a_job_there_are_no_other_nodes(pbs, program, code):
    done = pbs.run(program, "cn1", "hostname")
    assert (done.stderr, done.returncode) == (f"{program}: not executing under PBS\n", code)


def test_a_command_on_a_node_ends_with_its_code_and_wants_the_full_name(quiet):
    code = """
    pbs_tmrsh cn2.cluster.test /bin/bash -c 'exit 3'; echo $?
    pbs_tmrsh cn2 true; echo $?
    pbsdsh -n 0 /bin/bash -c 'exit 3'; echo $?
    cat "$PBS_NODEFILE"
    """
    words = ("-l", "select=2:ncpus=1:mpiprocs=2", "-l", "place=scatter", "-j", "oe", "-o", "rsh")
    submit(quiet, *words, script=code)
    until(lambda: not quiet.queued(), "the end of the job")
    lines = Path(quiet.root, "rsh").read_text().splitlines()
    nodes = ["cn1.cluster.test"] * 2 + ["cn2.cluster.test"] * 2
    assert [line for line in lines if ":" not in line] == ["3", "255", "0", *nodes]
    assert "pbsdsh: task 0x00000000 exit status 3" in lines
