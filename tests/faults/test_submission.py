"""sbatch says one thing and does another; a cluster is too full for what was asked."""

from __future__ import annotations

import pytest

from tests.faults.lab import NEW, START, Lab
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
MODEL = """
model = exp.create_model("m", exp.create_run_settings("/bin/bash", ["-c", "exit 6"]))
exp.start(model)
"""
# The product's own limit for commands is two minutes; Slurm may take seconds on a busy machine.
IMPATIENT = {"HPCORCH_COMMAND_TIMEOUT_SECONDS": "10"}


@pytest.fixture
def sbatch(cluster: Cluster) -> str:
    """The real one."""
    return cluster.run(["sh", "-c", "command -v sbatch"]).stdout.strip()


@pytest.mark.parametrize(
    "text",
    [
        f'"$sbatch" "$@" >/dev/null\necho "{TIMED_OUT}" >&2\nexit 1',
        f'"$sbatch" "$@"\necho "{TIMED_OUT}" >&2\nexit 1',
        'echo "Welcome to Example HPC;"\necho "  balance: 4711"\nexec "$sbatch" "$@"',
        '"$sbatch" "$@"\necho "sbatch: warning: your quota is nearly used up" >&2',
        '"$sbatch" "$@" >/dev/null\nexec sleep 77777',
    ],
    ids=["timed-out", "timed-out-with-id", "banner", "warning", "hangs-after-acceptance"],
)
def test_one_job_is_submitted_and_tracked_whatever_sbatch_says(
    text: str, cluster: Cluster, lab: Lab, sbatch: str
) -> None:
    lab.program("sbatch", f"sbatch={sbatch}\n{text}")
    ended = lab.drive(NEW + MODEL, env={**lab.first_in_path(), **IMPATIENT})
    assert "m is Failed, exit code 6" in ended.said
    assert lab.jobs() == [lab.job("m")]
    lab.nothing_runs()


def test_an_array_is_found_by_its_token_after_a_broken_submission(
    cluster: Cluster, lab: Lab, sbatch: str
) -> None:
    text = f'sbatch={sbatch}\n"$sbatch" "$@" >/dev/null\necho "{TIMED_OUT}" >&2\nexit 1'
    lab.program("sbatch", text)
    lab.drive(START, env=lab.first_in_path())
    assert lab.jobs() == [lab.job()]
    assert lab.answers()
    assert "orchestrator is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_an_sbatch_that_hangs_before_acceptance_leaves_no_job_and_a_clear_error(
    cluster: Cluster, lab: Lab
) -> None:
    lab.program("sbatch", "exec sleep 77777")
    env = {**lab.first_in_path(), **IMPATIENT}
    ended = lab.drive(NEW + MODEL, env=env, succeeds=False)
    assert ended.code == 1
    assert (
        "it is unknown whether the job m was accepted: sbatch did not answer within 10 s"
        in ended.said
    )
    assert lab.jobs() == []
    # The next start looks again, and does not refuse.
    assert "m is Failed, exit code 6" in lab.drive(NEW + MODEL).said
    assert len(lab.jobs()) == 1
    lab.nothing_runs()


def test_a_job_that_is_accepted_after_its_driver_gave_up_is_not_submitted_again(
    cluster: Cluster, lab: Lab, sbatch: str
) -> None:
    """A controller that is slow to answer has often got the request all the same."""
    go = lab.shared / "go"
    late = f'until [[ -e {go} ]]; do sleep 0.1; done; "{sbatch}" "$@"'
    lab.program("sbatch", f'({late}) >/dev/null 2>&1 &\necho "{TIMED_OUT}" >&2\nexit 1')
    code = NEW + MODEL.replace("exit 6", "exec sleep 77777")
    ended = lab.drive(code, env=lab.first_in_path(), succeeds=False)
    assert "it is unknown whether the job m was accepted" in ended.said
    assert lab.jobs() == []
    go.touch()
    (job,) = until(lab.jobs, "the late job")
    ended = lab.drive(code, succeeds=False)
    assert "InputError: m is " in ended.said
    assert f" already, as job {job}" in ended.said
    assert lab.jobs() == [job]
    assert "m is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_an_element_that_never_starts_fails_the_start_which_names_it_and_the_reason(
    cluster: Cluster, lab: Lab
) -> None:
    lab.occupy(2)
    # Between the starts of the two others less time than this passes, even on a busy machine.
    driver = lab.begin(START, env={"HPCORCH_DEADLINE_SECONDS": "10"})
    until(lambda: len(list(lab.path.glob("orchestrator/shards/*.json"))) == 2, "two shards")
    ended = driver.end()
    assert ended.code == 1
    assert "StartFailed: database orchestrator did not start: " in ended.said
    assert "1 of 3 shards did not start within 10 s: 2" in ended.said
    assert "still queued: shard 2 (Resources)" in ended.said
    assert not lab.published()
    lab.nothing_runs()
    assert lab.queue().count("other") == 1


def test_a_refusal_of_slurm_is_told_in_its_own_words(cluster: Cluster, lab: Lab) -> None:
    wanted = '), batch_settings=exp.create_batch_settings(batch_args={"constraint": "none"}))\n'
    ended = lab.drive(NEW + MODEL.replace("))\n", wanted, 1), succeeds=False)
    assert ended.code == 1
    assert "CommandFailed: sbatch refused the job: " in ended.said.splitlines()[-1]
    assert "Invalid feature specification" in ended.said.splitlines()[-1]
    assert lab.jobs() == []
    assert lab.queue() == []
