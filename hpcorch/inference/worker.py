"""A model worker: what it listens on, what it reads from, and how it lives and ends."""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch.client import workers
from hpcorch.client.config import ConfigOptions
from hpcorch.client.connection import Link, Server
from hpcorch.client.credentials import read_credentials
from hpcorch.client.errors import RedisConnectionError, RedisTimeoutError
from hpcorch.client.held_programs import HeldPrograms, has_module
from hpcorch.client.model_queue import queue_at
from hpcorch.client.model_store import CHANNEL, ModelStore
from hpcorch.client.module_store import key_at
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.client.settings import Settings, parse_addresses, read_settings
from hpcorch.client.text import to_bytes, to_text
from hpcorch.client.workers import WorkerAddress
from hpcorch.errors import HpcorchError
from hpcorch.inference.asked import Desk
from hpcorch.inference.direct import Listener
from hpcorch.inference.durable import QueueReader
from hpcorch.inference.service import Admission, Service
from hpcorch.inference.shelf import Shelf, Store

LOG = logging.getLogger("hpcorch.inference")
# Requests from the queue that one worker has in hand at once, so that batches can form.
_QUEUE_READERS = 4
_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 10.0


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
    shard = _shard(settings, options)
    module = shard.exchange(has_module)
    store: Store = HeldPrograms(router) if module else ModelStore(router)
    shelf = Shelf(store, options.threads, options.turn)
    key_of = _keys(router, shard) if module else str
    service = Service(router, shelf, options.max_request, key_of)
    admission = Admission(options.max_request, options.max_memory)
    address = _listening(options, Listener(service, admission, settings.credentials))

    def announce() -> None:
        workers.publish(router, address)
        # What has forgotten a worker, by a flush for example, has other models too.
        shelf.verify()

    queue = queue_at(router, options.shard)
    # A connection must not look dead while it waits for work.
    wait = min(_WAIT_SECONDS, settings.socket_timeout / 2)
    announce()
    _start(_follow_changes, router, shelf)
    _start(_stay_listed, announce, wait)
    for number in range(_QUEUE_READERS):
        reader = QueueReader(router, service, queue, f"{options.name}.{number}", announce, wait)
        _start(reader.run)
    asked = Service(router, shelf, options.max_request)
    if module:
        patience, together = settings.connect_timeout, options.max_memory
        Desk(shard, options.name, asked, shelf, wait, patience, together).start()
    options.ready.touch()
    LOG.info("%s is ready", address)
    _look_after(service, asked)


def _look_after(*services: Service) -> None:
    """End the process when a run does not come to an end."""
    while not any(service.is_stuck() for service in services):
        # The work is done by other threads; this one only looks after them.
        time.sleep(_LOOK_SECONDS)
    LOG.error("a run does not come to an end: the worker begins anew")
    os._exit(1)


def _listening(options: WorkerOptions, listener: Listener) -> WorkerAddress:
    """Let callers in; return where."""
    listener.listen_local(options.socket)
    port = listener.listen_tcp(options.host) if options.host else 0
    return WorkerAddress(options.name, workers.this_node(), str(options.socket), options.host, port)


def _shard(settings: Settings, options: WorkerOptions) -> Server:
    """Return the server that the worker is beside, and that may have hpcorch's module."""
    addresses = parse_addresses(options.shard, "--shard") if options.shard else settings.addresses
    login = os.environ.get("HPCORCH_WORKER_CREDENTIALS")
    # Who may put and get tensors may not yet answer for a worker.
    credentials = read_credentials(login) if login else settings.credentials
    return Server(addresses[0], replace(settings, credentials=credentials))


def _keys(router: Router, shard: Server) -> Callable[[str], str]:
    """Return what gives the key of a model or script on this shard: each has copies of all."""
    return lambda name: to_text(key_at(router, str(shard), to_bytes(name)))


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


def _stay_listed(announce: Callable[[], None], wait: float) -> None:
    """Announce the worker every `wait` seconds: a shard that has come back empty tells nobody."""
    while True:
        # It was announced just before; nothing tells when that is forgotten.
        time.sleep(wait)
        # A server that takes nothing at present, being full for example, may do so later.
        with suppress(HpcorchError):
            announce()


def _follow_changes(router: Router, shelf: Shelf) -> None:
    """Have models unloaded as soon as somebody replaces or removes them.

    Raises RedisConnectionError or RedisTimeoutError when the database has gone.
    """
    heard = False

    def listen(reader: ReplyReader) -> None:
        nonlocal heard
        reader.value()
        heard = True
        # Whatever was announced before we listened is found by looking.
        shelf.verify()
        while True:
            _, _, text = reader.value()
            word, _, name = to_text(text).partition(":")
            kind = word.lower()
            LOG.info("the %s %s has changed", kind, name)
            shelf.hear(kind, name)

    def subscribe(link: Link) -> None:
        link.bulk((b"SUBSCRIBE", CHANNEL), listen)

    while True:
        heard = False
        try:
            router.run(CHANNEL, subscribe)
        except (RedisConnectionError, RedisTimeoutError):
            # A silence, however long, means that nothing has changed; and the time to reach the
            # database anew counts from when it was lost.
            if not heard:
                raise
