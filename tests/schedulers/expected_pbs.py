"""What the recorded calls of PBS mean, read off by a person.

Tasks are written as `62[2] State code reason`, whole jobs without brackets; tasks of which the
server does not tell how they ended are left out.
"""

from __future__ import annotations

# Submissions that print an id all the same: the exit code is that of the job.
BLOCKED = {"qsub-W-block-array": "35[].head", "qsub-W-block-fail": "34.head"}
# Nobody knows whether there is a job.
AMBIGUOUS = ("qsub-cwd-deleted", "qsub-z", "server-frozen-qsub-15s")

_AT = "Job run at Sun Nov 22 at"
_MIXED = (
    f"0] Completed 0 {_AT} 16:37 on (cn1:ncpus=1) and finished; "
    f"1] Failed 3 {_AT} 16:37 on (cn1:ncpus=1) and failed; "
    f"2] Failed 137 {_AT} 16:37 on (cn2:ncpus=1) and failed"
)


def _of(job: str, tasks: str) -> str:
    return "; ".join(f"{job}[{task}" for task in tasks.split("; "))


REPORTS = {
    "array-after-all-gone-history-False": "",
    "array-after-all-gone-history-True": "",
    "node-down-qstat-t": "208[0] Running; 208[1] Running; 208[2] Running",
    "qstat-array-f": "62[0] Unknown",
    # The record of the array, whose exit code is nobody's.
    "qstat-array-finished-xf": "",
    "qstat-array-held-t": "135[0] Queued; 135[1] Queued; 135[2] Queued",
    "qstat-array-just-after-qdel": "289[0] Running; 289[1] Running; 289[2] Running; 289[3] Running",
    "qstat-array-qdeld-xt": (
        f"289[0] Cancelled 143 {_AT} 16:32 on (cn1:ncpus=2) and terminated by"
    ),
    "qstat-array-t": (
        "62[0] Running; 62[1] Running; 62[2] Running; 62[3] Running; 62[4] Queued; 62[5] Queued"
    ),
    "qstat-array-t-X-states": "",
    "qstat-array-without-brackets-suffix": "",
    "qstat-f-multichunk-running": "10 Running",
    "qstat-f-queued-cannot-run": (
        "57 Queued Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 8 T: 8)"
    ),
    # `grep` has left nothing but ids.
    "qstat-f-unknown-middle": "60 Unknown; 61 Unknown",
    "qstat-f-w-nowrap": "285 Queued",
    "qstat-f-wrap": "285 Queued",
    "qstat-hist-finished-f-no-x": "",
    "qstat-mixed-finished-and-known": "58 Queued; 59 Queued",
    "qstat-mixed-known-unknown": "58 Queued; 59 Queued",
    "qstat-mixed-unknown-first": "58 Queued",
    "qstat-mixed-unknown-last": "58 Queued",
    "qstat-mixed-unknown-other-order": "58 Queued",
    "qstat-mixed-unknown-other-order2": "58 Queued",
    "qstat-mixed-x": "58 Queued",
    "qstat-nohist-array-t-one-deleted": "265[1] Running; 265[2] Running",
    "qstat-nohist-f-running": "4 Running",
    "qstat-nohist-finished-f": "",
    "qstat-nohist-finished-xf": "",
    "qstat-nohist-finished-xfjson": "",
    "qstat-state-E": "169 Running; 170[0] Running; 170[1] Running",
    "qstat-state-W": "36 Queued",
    "qstat-subjob-f": "62[1] Running",
    "qstat-subjob-f-X": "",
    "qstat-subjob-finished-xf": f"62[1] Failed 3 {_AT} 15:47 on (cn2:ncpus=2) and failed",
    "qstat-subjob-queued-f": "62[5] Queued",
    "qstat-subjob-xf-X": f"62[1] Failed 3 {_AT} 15:47 on (cn2:ncpus=2) and failed",
    "qstat-unknown": "",
    "qstat-x-finished-f": (
        f"10 Completed 0 {_AT} 15:33 on (cn1:ncpus=2)+(cn2:ncpus=2)+(cn3:ncpus=1) and finished"
    ),
    "qstat-xf-qdeld-queued": (
        "57 Cancelled Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 8 T: 8) "
        "and terminated"
    ),
    "qstat-xf-qdeld-running": (
        f"54 Cancelled 143 {_AT} 15:45 on (cn1:ncpus=1) and terminated by pbsuser@head.cluster.test"
    ),
    "subjob-after-natural-finish": (
        f"4[0] Completed 0 {_AT} 16:38 on (cn1:ncpus=1) and finished; "
        f"4[1] Failed 3 {_AT} 16:38 on (cn1:ncpus=1) and failed; "
        f"4[2] Failed 137 {_AT} 16:38 on (cn2:ncpus=1) and failed; "
        f"4[3] Completed 0 {_AT} 16:38 on (cn2:ncpus=1) and finished"
    ),
    "subjob-before-parent-qdel": _of("3", f"{_MIXED}; 3] Running"),
    # Without history and after the array was deleted, the records of its tasks are made up.
    "subjob-exit-status-visibility-history-False": "1[3] Running; 1[4] Running",
    "subjob-exit-status-visibility-history-True": _of("2", f"{_MIXED}; 3] Running; 4] Running"),
    "subjob-history-after-parent-qdel": (
        f"2[4] Cancelled 143 {_AT} 16:37 on (cn3:ncpus=1) and terminated by"
    ),
    "subjob-just-after-parent-qdel": (
        f"3[3] Cancelled 143 {_AT} 16:37 on (cn2:ncpus=1) and terminated by; 3[4] Running"
    ),
    "subjob-long-after-parent-qdel": (
        f"3[3] Cancelled 143 {_AT} 16:37 on (cn2:ncpus=1) and terminated by"
    ),
}

# Records of which the ids were left out: state and code of each job.
ENDS = {
    "exit-status-bad-interpreter": "Failed 127",
    "exit-status-signals": "Failed 137; Failed 139; Failed 143",
    "exit-status-table": (
        "Completed; Failed 1; Failed 3; Failed 127; Failed 128; Failed 137; Failed 255; Completed"
    ),
    # Negative codes are PBS's own words.
    "exit-status-walltime": "TimedOut",
    "no-home-directory": "Running",
    "node-down-qstat-t-after-force": "Cancelled",
    "prologue-exit-1": "Failed",
    "prologue-exit-2": "Queued",
    "qdel-W-force-signals": "Cancelled 137",
    "qdel-trap-term-signals": "Cancelled 143",
    "qstat-f-subjob-E": "Running",
    # Its dependency could never be met.
    "qstat-xf-depend-unknown": "Cancelled",
}
