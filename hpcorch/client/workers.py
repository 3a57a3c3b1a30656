"""Which model workers a database has: each one lists itself in the hash `hpcorch:workers`."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcorch.client.routing import Router

_KEY = b"hpcorch:workers"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class WorkerAddress:
    """Where one worker listens: a Unix socket `path` on the node `node`, and `host`:`port`.

    `path` or `host` may be empty. `name` is unique in the database.
    """

    name: str
    node: str
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"{self.name} at {self.path or f'{self.host}:{self.port}'}"


def this_node() -> str:
    """Return what tells this node from all others."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


def publish(router: Router, worker: WorkerAddress) -> None:
    """List `worker`, in place of an earlier one of that name."""
    text = json.dumps(asdict(worker))
    router.run(_KEY, lambda link: link.command(b"HSET", _KEY, worker.name, text))


def listed(router: Router) -> list[WorkerAddress]:
    """Return all workers on the list, in the order of their names; damaged entries are skipped."""
    found = router.run(_KEY, lambda link: link.command(b"HVALS", _KEY))
    workers = [worker for worker in map(_worker, found) if worker is not None]
    return sorted(workers, key=lambda worker: worker.name)


def _worker(text: Any) -> WorkerAddress | None:
    try:
        return WorkerAddress(**json.loads(text))
    except (ValueError, TypeError):
        return None
