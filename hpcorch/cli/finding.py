"""What the doctor finds: one fact, whether it is in order, and the cure when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One check's result; every warn and fail has a cure."""

    check: str
    status: Status
    detail: str
    cure: str = ""


def judged(
    check: str, good: bool, detail: str, cure: str, otherwise: Status = "warn", problem: str = ""
) -> Finding:
    """Return ok with `detail`, or `otherwise` with the problem (default: the detail) and cure."""
    if good:
        return Finding(check, "ok", detail)
    return Finding(check, otherwise, problem or detail, cure)
