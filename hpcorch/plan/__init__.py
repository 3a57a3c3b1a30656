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
    ServerFacts,
    ServerPlan,
    Target,
    suffix,
)
from hpcorch.plan.limits import check_limits
from hpcorch.plan.model import plan_model
from hpcorch.plan.seats import Seats, picture, seats

__all__ = [
    "CONTEXT_VERSION",
    "ColocationPlan",
    "DatabaseJob",
    "DatabaseUse",
    "Job",
    "Machine",
    "ModelJob",
    "Seats",
    "ServerFacts",
    "ServerPlan",
    "Target",
    "check_limits",
    "picture",
    "plan_database",
    "plan_model",
    "seats",
    "suffix",
]
