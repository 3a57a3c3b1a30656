"""A model worker: what it listens on, what it reads from, and how it lives and ends."""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcorch.client import workers
from hpcorch.client.config import ConfigOptions
from hpcorch.client.connection import Link
from hpcorch.client.model_queue import queue_at
from hpcorch.client.model_store import CHANNEL, ModelStore
from hpcorch.client.routing import Router
from hpcorch.client.settings import read_settings
from hpcorch.client.wire import ReplyReader
from hpcorch.client.workers import WorkerAddress
from hpcorch.errors import HpcorchError
from hpcorch.inference.direct import Listener
from hpcorch.inference.durable import QueueReader
from hpcorch.inference.service import Admission, Service
from hpcorch.inference.shelf import Shelf

LOG = logging.getLogger("hpcorch.inference")
# Requests from the queue that one worker has in hand at once, so that batches can form.
_QUEUE_READERS = 4
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is told: `name` is unique in its database, `shard` is its own shard's address.

    `socket` is the path to listen on, `host` the address for TCP or "" for none; `ready` is a file
    to make when callers are welcome. `turn` says which GPU is its own; `max_request` and
    `max_memory` bound the bytes of one request's and all requests' inputs.
    """

    name: str
    shard: str
    socket: Path
    host: str
    ready: Path
    threads: int
    turn: int
    max_request: int
    max_memory: int


def serve(options: WorkerOptions) -> None:
    """Be a worker of the database that the environment names, until it ends.

    Raises what connecting raises, and ends the process when the database has gone or a run does not
    come to an end.
    """
    # Every caller is an open file; the usual limit is far below what one process may have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    settings = read_settings(ConfigOptions.create_from_environment(""))
    router = Router(settings)
    shelf = Shelf(ModelStore(router), options.threads, options.turn)
    service = Service(router, shelf)
    admission = Admission(options.max_request, options.max_memory)
    listener = Listener(service, admission, settings.credentials)
    listener.listen_local(options.socket)
    port = listener.listen_tcp(options.host) if options.host else 0
    address = WorkerAddress(
        options.name, workers.this_node(), str(options.socket), options.host, port
    )

    def announce() -> None:
        workers.publish(router, address)

    queue = queue_at(router, options.shard)
    announce()
    _start(_follow_changes, router, shelf)
    for number in range(_QUEUE_READERS):
        reader = QueueReader(router, service, queue, f"{options.name}.{number}", announce)
        _start(reader.run)
    options.ready.touch()
    LOG.info("%s is ready", address)
    while not service.is_stuck():
        # The work is done by other threads; this one only looks after them.
        time.sleep(_LOOK_SECONDS)
    LOG.error("a run does not come to an end: the worker begins anew")
    os._exit(1)


def _start(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=_or_end, args=(work, *arguments), daemon=True).start()


def _or_end(work: Callable[..., None], *arguments: object) -> None:
    """Work for ever; a worker that has lost its database has nothing to live for."""
    try:
        work(*arguments)
    except HpcorchError as error:
        LOG.error("the worker ends: %s", error)
    except BaseException:
        LOG.exception("the worker ends")
    os._exit(1)


def _follow_changes(router: Router, shelf: Shelf) -> None:
    """Unload models as soon as somebody replaces or removes them."""

    def listen(reader: ReplyReader) -> None:
        reader.value()
        # Whatever was announced before we listened is found by looking.
        shelf.verify()
        while True:
            _, _, text = reader.value()
            kind, _, name = text.decode("utf-8", "replace").partition(":")
            LOG.info("the %s %s has changed", kind, name)
            shelf.forget(kind, name)

    def subscribe(link: Link) -> None:
        link.bulk((b"SUBSCRIBE", CHANNEL), listen)

    while True:
        router.run(CHANNEL, subscribe)
