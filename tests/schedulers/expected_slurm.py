"""What the recorded calls of Slurm mean, read off by a person.

Tasks are written as `37_2 State code reason`, all tasks of an array as `37_*`.
"""

from __future__ import annotations

# How many tasks arrays have whose transcripts do not tell all of them.
ARRAYS = {"37": 5, "65": 4, "116": 3}

# The ids of accepted jobs; sbatch that is not here was refused.
ACCEPTED = {
    "enforce-sbatch-default-account": "1",
    "het-batch": "94",
    "noacct-sbatch-account": "2",
    "poweroff-submit-w": "6",
    "purge-after-dependency": "2",
    "redis-array-submit": "116",
    "sbatch-account-unenforced": "32",
    "sbatch-array-duplicate-indices": "5",
    "sbatch-array-empty": "7",
    "sbatch-array-exclusive-distinct-nodes": "106",
    "sbatch-array-parsable": "5",
    "sbatch-array-percent-0": "6",
    "sbatch-array-plain": "6",
    "sbatch-array-shared-nodes": "109",
    "sbatch-chdir-missing": "34",
    "sbatch-clusters-parsable": "21;testbed",
    "sbatch-comment-and-export-chars": "8",
    "sbatch-err-dependency": "29",
    "sbatch-err-qos": "31",
    "sbatch-err-time-limit": "23",
    "sbatch-err-too-many-cpus": "25",
    "sbatch-err-too-many-nodes": "24",
    "sbatch-err-too-many-tasks": "26",
    "sbatch-exit-code-of-signal-usr1": "9",
    "sbatch-export-all-plus": "103",
    "sbatch-export-comma-value": "104",
    "sbatch-export-none": "101",
    "sbatch-export-some": "102",
    "sbatch-hold": "20",
    "sbatch-nodelist-spec": "105",
    "sbatch-ok": "1",
    "sbatch-ok-array-max": "22",
    "sbatch-output-dir-missing": "35",
    "sbatch-parsable": "2",
    "sbatch-stdin": "4",
    "sbatch-wait-array-fail": "13",
    "sbatch-wait-fail": "12",
    "sbatch-wait-ok": "7",
    "sbatch-wait-signal": "16",
    "sbatch-wrap": "3",
}
# Exit code 0, but nothing that names a job.
NO_ID = ("sbatch-quiet", "sbatch-test-only", "sbatch-version")

_WAITING = tuple(range(2, 5))
_SQUARES = tuple(number * number for number in range(1, 31))
# The ids that squeue prints in formats without a state; None stands for the whole job.
ID_LISTS: dict[str, list[tuple[str, tuple[int, ...] | None]]] = {
    "squeue-array-long-list": [("1", None)],
    "squeue-array-long-list-K": [],
    "squeue-array-long-list-bitstr0": [("1", _SQUARES)],
    "squeue-array-long-list-bitstr1000": [("1", _SQUARES)],
    "squeue-array-mixed-list": [("3", (1, 3, 5, 6, 7, 8, 9))],
    "squeue-array-single": [("4", (4,))],
    "squeue-array-stepped": [("2", tuple(range(0, 99, 2)))],
    "squeue-me": [
        ("37", _WAITING),
        *((job, None) for job in ("40", "41", "43", "45", "46", "48", "44", "36")),
        ("37", (0,)),
        ("37", (1,)),
        ("42", None),
    ],
}

_ARRAY_REST = (
    "37_2 Queued JobArrayTaskLimit; 37_3 Queued JobArrayTaskLimit; 37_4 Queued JobArrayTaskLimit"
)
_ARRAY = f"37_0 Running; 37_1 Running; {_ARRAY_REST}"
_OTHERS = (
    "40 Queued Resources; 41 Queued PartitionConfig; 42 Queued PartitionTimeLimit; "
    "43 Queued PartitionConfig; 44 Queued JobHeldUser; 45 Queued Dependency; 46 Queued BeginTime; "
    "48 Queued DependencyNeverSatisfied"
)
_WITHOUT_48 = _OTHERS.removesuffix("; 48 Queued DependencyNeverSatisfied")
_ELEMENT_CANCELLED = "37_2 Running; 37_3 Queued JobArrayTaskLimit; 37_4 Queued JobArrayTaskLimit"
_ALL_STATES = (
    "1 Completed; 2 Completed; 3 Completed; 4 Completed; 5_* Completed; 6_* Completed; "
    "7 Completed; 12 Failed NonZeroExitCode; 13_0 Completed; 13_1 Failed NonZeroExitCode; "
    "13_2 Failed NonZeroExitCode; 16 Failed JobLaunchFailure; 17 Completed; 20 Completed; "
    "21 Completed; 22_* Cancelled JobHeldUser; 23 Cancelled PartitionTimeLimit; "
    "24 Cancelled PartitionConfig; 25 Cancelled PartitionConfig; 26 Cancelled PartitionConfig; "
    "27 Failed BadConstraints; 29 Completed; 31 Completed; 32 Completed; "
    "34 Failed JobLaunchFailure; 35 Failed JobLaunchFailure"
)
# Finished tasks are listed for a while with -t all only.
QUEUE = {
    "ctl-back-squeue": "3 Running",
    "het-squeue": "96 Running",
    "het-squeue-j": "96 Running",
    "mungeback-squeue": "3 Running",
    "oom-OverMemoryKill-batch-squeue": "1 Failed JobLaunchFailure",
    "oom-cgroup-batch-squeue": "1 Failed OutOfMemory",
    "poweroff-2s-squeue": "4 Running; 5 Running",
    "poweroff-squeue": "5 Queued BeginTime",
    "poweroff-squeue-t-all": "4 Failed NodeDown; 5 Queued BeginTime",
    "poweroff-squeue-w": "5 Queued BeginTime; 6 Queued ReqNodeNotAvail, UnavailableNodes:node3",
    "redis-squeue": "116_* Running",
    "redis-squeue-shard-lost": "116_0 Running; 116_1 Cancelled; 116_2 Running",
    "squeue-Format": _ARRAY,
    "squeue-after-requeue": "64 Queued BeginTime",
    "squeue-array-after-cancel-element": f"37_0 Running; {_ELEMENT_CANCELLED}",
    "squeue-array-after-cancel-element-all": f"37_0 Running; 37_1 Cancelled; {_ELEMENT_CANCELLED}",
    "squeue-array-collapsed": _ARRAY,
    "squeue-array-element-pending": "37_3 Queued JobArrayTaskLimit",
    "squeue-array-element-running": "37_0 Running",
    "squeue-array-expanded": _ARRAY,
    "squeue-array-format": _ARRAY,
    "squeue-array-format-expanded": _ARRAY,
    "squeue-array-t-all": (
        "37_0 Cancelled; 37_1 Cancelled; 37_2 Cancelled; "
        "37_3 Cancelled JobArrayTaskLimit; 37_4 Cancelled JobArrayTaskLimit"
    ),
    # Columns that tell no job.
    "squeue-bad-Format": "",
    "squeue-bad-format-letter": "",
    "squeue-finished-job-t-all": "47 Failed NonZeroExitCode",
    "squeue-held": "20 Queued JobHeldUser",
    "squeue-mixed": f"36 Running; {_ARRAY}; {_OTHERS}",
    "squeue-mixed-array-expanded": f"36 Running; {_ARRAY}; {_OTHERS}",
    "squeue-several-jobs": (
        "36 Running; 37_0 Running; 37_1 Running; 37_2 Queued; 37_3 Queued; 37_4 Queued; 40 Queued"
    ),
    "squeue-several-one-bad": "36 Running",
    "squeue-start": f"{_ARRAY_REST}; {_OTHERS}",
    "squeue-state-pending": f"{_ARRAY_REST}; {_OTHERS}",
    "squeue-states-all": (
        f"{_ALL_STATES}; 36 Running; {_ARRAY}; "
        f"{_WITHOUT_48}; 47 Failed NonZeroExitCode; 48 Queued DependencyNeverSatisfied"
    ),
    "squeue-steps": "",
    "squeue-suspended": "57 Running JobHeldAdmin",
    "state-ARRAY-partly-squeue": "65_3 Running",
    "state-ARRAY-partly-squeue-r": (
        "65_0 Completed; 65_1 Failed NonZeroExitCode; 65_2 Cancelled; 65_3 Running"
    ),
    "state-ARRAY-partly-squeue-t-all": (
        "65_0 Completed; 65_1 Failed NonZeroExitCode; 65_2 Cancelled; 65_3 Running"
    ),
    "state-CANCELLED-ignored-TERM-squeue-t-all": "60 Cancelled",
    "state-CANCELLED-pending-squeue-t-all": "59 Cancelled JobHeldUser",
    "state-CANCELLED-running-squeue-t-all": "58 Cancelled",
    "state-COMPLETED-failed-step-squeue-t-all": "56 Completed",
    "state-COMPLETED-squeue-t-all": "70 Completed",
    "state-COMPLETED-then-requeued-squeue": "71 Queued",
    "state-COMPLETED-then-requeued-squeue-t-all": "71 Queued",
    "state-COMPLETING-squeue": "60 Running",
    "state-DEADLINE-squeue-t-all": "69 TimedOut DeadLine",
    "state-FAILED-exit3-squeue-t-all": "52 Failed NonZeroExitCode",
    "state-FAILED-notfound-squeue-t-all": "55 Failed NonZeroExitCode",
    "state-FAILED-segv-squeue-t-all": "54 Failed JobLaunchFailure",
    "state-FAILED-signal9-squeue-t-all": "53 Failed JobLaunchFailure",
    "state-NODE_FAIL-requeued-squeue": "62 Queued BeginTime",
    "state-NODE_FAIL-requeued-squeue-t-all": "62 Queued BeginTime",
    "state-NODE_FAIL-squeue-t-all": "61 Failed NodeDown",
    "state-PENDING-node-drained-squeue": "7 Queued ReqNodeNotAvail, UnavailableNodes:node2",
    "state-REQUEUE_HOLD-squeue": "73 Queued job requeued in held state",
    "state-REQUEUE_HOLD-squeue-t-all": "73 Queued job requeued in held state",
    "state-RUNNING-squeue": "57 Running JobHeldAdmin",
    "state-RUNNING-squeue-t-all": "57 Running JobHeldAdmin",
    "state-SPECIAL_EXIT-squeue": "72 Queued job requeued in held state",
    "state-SPECIAL_EXIT-squeue-t-all": "72 Queued job requeued in held state",
    "state-TIMEOUT-squeue-t-all": "50 TimedOut TimeLimit",
}

_ARRAY_PARTLY = "37_0 Running; 37_1 Running; 37_2 Queued; 37_3 Queued; 37_4 Queued"
# Codes are those of ended tasks only; 128 and more stand for a signal.
HISTORY = {
    "het-sacct": "96 Running",
    "het-sacct-cancelled": "96 Cancelled",
    "jobcomp-sacct-c": "1 Failed",
    "jobcomp-sacct-c-fields": "1 Failed 3",
    "jobcomp-sacct-c-j": "1 Failed",
    "oom-OverMemoryKill-batch-sacct": "1 Failed 137",
    "oom-cgroup-batch-sacct": "1 Failed 253",
    "sacct-after-step-cancel": "36 Failed 10",
    "sacct-array-cancelled": "37_* Cancelled 0",
    "sacct-array-partly": _ARRAY_PARTLY,
    "sacct-array-partly-X": _ARRAY_PARTLY,
    "sacct-bad-id": "",
    "sacct-by-name": "36 Running",
    "sacct-one-element": "37_1 Running",
    "sacct-output-dir-missing": "34 Failed 181; 35 Failed 181",
    "sacct-running": "36 Running",
    # The accounting lags behind: for a while it knows an array as one job.
    "state-ARRAY-partly-sacct": "65_* Queued",
    "state-ARRAY-partly-sacct-D": "65_* Queued",
    "state-ARRAY-partly-sacct-X": (
        "65_0 Completed 0; 65_1 Failed 5; 65_2 Cancelled 0; 65_3 Running"
    ),
    "state-CANCELLED-ignored-TERM-sacct": "60 Cancelled 0",
    "state-CANCELLED-ignored-TERM-sacct-D": "60 Cancelled 0",
    "state-CANCELLED-pending-sacct": "59 Cancelled 0",
    "state-CANCELLED-pending-sacct-D": "59 Cancelled 0",
    "state-CANCELLED-running-sacct": "58 Cancelled 0",
    "state-CANCELLED-running-sacct-D": "58 Cancelled 0",
    "state-COMPLETED-failed-step-sacct": "56 Completed 0",
    "state-COMPLETED-failed-step-sacct-D": "56 Completed 0",
    "state-COMPLETED-sacct": "70 Completed 0",
    "state-COMPLETED-sacct-D": "70 Completed 0",
    "state-COMPLETED-then-requeued-sacct": "71 Queued",
    "state-COMPLETED-then-requeued-sacct-D": "71 Queued",
    "state-DEADLINE-sacct": "69 TimedOut 1",
    "state-DEADLINE-sacct-D": "69 TimedOut 1",
    "state-FAILED-exit3-sacct": "52 Failed 3",
    "state-FAILED-exit3-sacct-D": "52 Failed 3",
    "state-FAILED-notfound-sacct": "55 Failed 127",
    "state-FAILED-notfound-sacct-D": "55 Failed 127",
    "state-FAILED-segv-sacct": "54 Failed 139",
    "state-FAILED-segv-sacct-D": "54 Failed 139",
    "state-FAILED-signal9-sacct": "53 Failed 137",
    "state-FAILED-signal9-sacct-D": "53 Failed 137",
    # With -D every run of a requeued job has its line; the last one counts.
    "state-NODE_FAIL-requeued-sacct": "62 Queued",
    "state-NODE_FAIL-requeued-sacct-D": "62 Queued",
    "state-NODE_FAIL-sacct": "61 Failed 0",
    "state-NODE_FAIL-sacct-D": "61 Failed 0",
    "state-REQUEUE_HOLD-sacct": "73 Queued",
    "state-REQUEUE_HOLD-sacct-D": "73 Queued",
    "state-RUNNING-sacct": "57 Running",
    "state-RUNNING-sacct-D": "57 Running",
    "state-SPECIAL_EXIT-sacct": "72 Queued",
    "state-SPECIAL_EXIT-sacct-D": "72 Queued",
    "state-TIMEOUT-sacct": "50 TimedOut 0",
    "state-TIMEOUT-sacct-D": "50 TimedOut 0",
}

# What each of these tells: the limit of arrays, the partitions, or nothing.
LIMITS = {
    "ctldown-sinfo": "",
    "mungedown-sinfo": "",
    "scontrol-show-config": "array",
    "scontrol-show-partition": "",
    "sinfo": "queues",
    "sinfo-bad-partition": "",
    "sinfo-format": "queues",
    "sinfo-partitions-format": "queues",
}

# Our words for what scontrol shows.
JOB_STATES = {
    "oom-OverMemoryKill-batch-scontrol": "Failed",
    "oom-cgroup-batch-scontrol": "Failed",
    "poweroff-scontrol-a": "Failed",
    "poweroff-scontrol-b": "Queued",
    "state-ARRAY-partly-scontrol": "Running Cancelled Failed Completed",
    "state-CANCELLED-ignored-TERM-scontrol": "Cancelled",
    "state-CANCELLED-pending-scontrol": "Cancelled",
    "state-CANCELLED-running-scontrol": "Cancelled",
    "state-COMPLETED-failed-step-scontrol": "Completed",
    "state-COMPLETED-scontrol": "Completed",
    "state-COMPLETED-then-requeued-scontrol": "Queued",
    "state-COMPLETING-scontrol": "Running",
    "state-DEADLINE-scontrol": "TimedOut",
    "state-FAILED-exit3-scontrol": "Failed",
    "state-FAILED-notfound-scontrol": "Failed",
    "state-FAILED-segv-scontrol": "Failed",
    "state-FAILED-signal9-scontrol": "Failed",
    "state-NODE_FAIL-requeued-scontrol": "Queued",
    "state-NODE_FAIL-scontrol": "Failed",
    "state-REQUEUE_HOLD-scontrol": "Queued",
    "state-RUNNING-scontrol": "Running",
    "state-SPECIAL_EXIT-scontrol": "Queued",
    "state-TIMEOUT-scontrol": "TimedOut",
}
