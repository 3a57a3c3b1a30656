"""From descriptions to jobs: pure functions, the same input gives the same job."""

from hpcorch.plan.chunks import chunked
from hpcorch.plan.database import plan_database
from hpcorch.plan.ensemble import plan_ensemble
from hpcorch.plan.jobs import (
    CONTEXT_VERSION,
    Chunk,
    ColocationPlan,
    DatabaseJob,
    DatabaseUse,
    Job,
    Machine,
    ModelJob,
    Plan,
    RunFile,
    ServerFacts,
    ServerPlan,
    Target,
    WorkerPlan,
    suffix,
)
from hpcorch.plan.limits import array_size, check_limits, check_site
from hpcorch.plan.model import plan_model, unreadable
from hpcorch.plan.seats import Seats, picture, seats
from hpcorch.plan.table import NodeFiles

__all__ = [
    "CONTEXT_VERSION",
    "Chunk",
    "ColocationPlan",
    "DatabaseJob",
    "DatabaseUse",
    "Job",
    "Machine",
    "ModelJob",
    "NodeFiles",
    "Plan",
    "RunFile",
    "Seats",
    "ServerFacts",
    "ServerPlan",
    "Target",
    "WorkerPlan",
    "array_size",
    "check_limits",
    "check_site",
    "chunked",
    "picture",
    "plan_database",
    "plan_ensemble",
    "plan_model",
    "seats",
    "suffix",
    "unreadable",
]
