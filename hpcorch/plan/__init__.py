"""From descriptions to jobs: pure functions, the same input gives the same job."""

from hpcorch.plan.database import plan_database
from hpcorch.plan.jobs import (
    CONTEXT_VERSION,
    ColocationPlan,
    DatabaseJob,
    DatabaseUse,
    Job,
    Machine,
    ModelJob,
    RunFile,
    ServerFacts,
    ServerPlan,
    Target,
    WorkerPlan,
    suffix,
)
from hpcorch.plan.limits import check_limits
from hpcorch.plan.model import plan_model

__all__ = [
    "CONTEXT_VERSION",
    "ColocationPlan",
    "DatabaseJob",
    "DatabaseUse",
    "Job",
    "Machine",
    "ModelJob",
    "RunFile",
    "ServerFacts",
    "ServerPlan",
    "Target",
    "WorkerPlan",
    "check_limits",
    "plan_database",
    "plan_model",
    "suffix",
]
