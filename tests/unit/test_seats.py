"""The picture of who sits on which CPU, and that it is what the scripts do."""

from __future__ import annotations

import pytest

from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError
from hpcorch.plan import picture, seats
from tests.helpers import database_job, fake_machine, model_job

DOMAINS = {0: (0, 1, 2, 3, 16, 17), 1: (4, 5, 6, 7), 2: (8, 9)}


def places(allowed, **colocation):
    """The seats of each part of the node, by title and name."""
    model = Model("sim", RunSettings("sim"))
    model.colocate_db_uds(**colocation)
    job = model_job(model, "/x", "/sim", machine=fake_machine())
    return {it.title: dict(it.places) for it in seats(job, allowed, DOMAINS)}


def test_a_program_is_kept_off_the_server_s_cpus():
    assert places((4, 5, 6, 9), custom_pinning=[0, 3]) == {
        "sim on each node": {"server": (4, 9), "program": (5, 6)}
    }
    kept = {"server": (4,), "program": (4, 5, 6)}
    assert places((4, 5, 6), limit_app_cpus=False) == {"sim on each node": kept}
    assert places((4,)) == {"sim on each node": {"server": (4,), "program": (4,)}}
    free = {"server": (4, 5), "program": (4, 5)}
    assert places((4, 5), custom_pinning=[]) == {"sim on each node": free}


def test_numbers_count_inside_each_numa_domain():
    assert places((2, 3, 4, 16), custom_pinning=[0], per="numa") == {
        "sim on NUMA domain 0": {"server": (2,), "program": (3, 16)},
        "sim on NUMA domain 1": {"server": (4,), "program": (4,)},
    }
    assert list(places((99,), per="numa")) == ["sim on each node"]


def test_what_the_job_lacks_is_refused_with_what_it_has():
    with pytest.raises(InputError, match=r"number 2: the job has 2 CPUs \(4,9\), numbered from 0"):
        places((4, 9), custom_pinning=[2])


def test_shards_have_places_of_their_own():
    database = Orchestrator(db_nodes=4, shards_per_host=2, db_cpus=2, layout="gang")
    (found,) = seats(database_job(database, scheduler="slurm"), (4, 5, 6, 7, 8), {})
    assert dict(found.places) == {"shard 0": (4, 5), "shard 1": (6, 7)}
    (free,) = seats(database_job(Orchestrator()), (4, 5), {})
    assert dict(free.places) == {"shards": (4, 5)}


def test_a_picture_has_a_column_for_each_cpu_and_rows_of_sixteen():
    database = Orchestrator(db_cpus=1, custom_pinning=[16])
    found = seats(database_job(database), tuple(range(100, 118)), {})
    assert picture(found).splitlines() == [
        "orchestrator on each host, which has the CPUs 100-117:",
        "  number    0   1   2   3   4   5   6   7   8   9  10  11  12  13  14  15",
        "  CPU     100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115",
        "  shard 0   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .",
        "",
        "  number   16  17",
        "  CPU     116 117",
        "  shard 0   #   .",
    ]
