"""One client of the transfer bench, in a process of its own: `transfer_worker.py CLIENT ADDRESS`.

It reads lines `put BYTES ROUNDS` or `get BYTES ROUNDS` and answers each with one JSON list of
seconds. Nothing of hpcorch is imported unless it is the client, since the peer needs another Python
environment.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Put = Callable[[Any], object]
Get = Callable[[int], Any]


def use_hpcorch(address: str) -> tuple[Put, Get]:
    os.environ["SSDB"] = address
    from hpcorch.client import Client

    client = Client()
    return lambda array: client.put_tensor("ours", array), lambda _size: client.get_tensor("ours")


def use_smartredis(address: str) -> tuple[Put, Get]:
    # Its default time-out of 250 ms is too short for large arrays.
    os.environ.update(SSDB=address, SR_LOG_LEVEL="QUIET", SR_SOCKET_TIMEOUT="60000")
    from smartredis import Client  # type: ignore[import-not-found, unused-ignore]

    client = Client(cluster="," in address)
    return lambda array: client.put_tensor("peer", array), lambda _size: client.get_tensor("peer")


def use_redis_py(address: str) -> tuple[Put, Get]:
    import redis
    import redis.cluster

    connection: Any
    if "," in address:
        nodes = [redis.cluster.ClusterNode(*split(one)) for one in address.split(",")]
        connection = redis.cluster.RedisCluster(startup_nodes=nodes)
    elif address.startswith("unix://"):
        connection = redis.Redis(unix_socket_path=address.removeprefix("unix://"))
    else:
        host, port = split(address)
        connection = redis.Redis(host=host, port=port)

    return (
        lambda array: connection.set("plain", memoryview(array).cast("B")),
        lambda _size: np.frombuffer(connection.get("plain")),
    )


def use_raw_socket(address: str) -> tuple[Put, Get]:
    """The floor: bytes through a socket to a process that does nothing else (see `serve_raw`)."""
    if address.startswith("unix://"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address.removeprefix("unix://"))
    else:
        sock = socket.create_connection(split(address))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def put(array: Any) -> None:
        sock.sendall(struct.pack("<cq", b"P", array.nbytes))
        sock.sendall(memoryview(array).cast("B"))
        sock.recv(1)

    def get(size: int) -> Any:
        sock.sendall(struct.pack("<cq", b"G", size))
        found: Any = np.empty(size // 8)
        fill(sock, memoryview(found).cast("B"))
        return found

    return put, get


def serve_raw(listener: socket.socket) -> None:
    """Answer one raw client after the other, from and into one piece of memory."""
    memory = memoryview(bytearray(2**27))
    while True:
        peer, _ = listener.accept()
        with peer:
            if peer.family == socket.AF_INET:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = bytearray(9)
            while peer.recv_into(head, 9, socket.MSG_WAITALL) == len(head):
                kind, size = struct.unpack("<cq", head)
                if kind == b"P":
                    fill(peer, memory[:size])
                    peer.sendall(b"+")
                else:
                    peer.sendall(memory[:size])


def fill(sock: socket.socket, target: memoryview) -> None:
    done = 0
    while done < len(target):
        done += sock.recv_into(target[done:])


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


CLIENTS = {
    "hpcorch": use_hpcorch,
    "hpcorch with module": use_hpcorch,
    "smartredis": use_smartredis,
    "redis-py": use_redis_py,
    "raw socket": use_raw_socket,
}


def measure(action: Callable[[], object], rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    put, get = CLIENTS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        kind, size, rounds = line.split()[0], int(line.split()[1]), int(line.split()[2])
        array = np.random.default_rng(0).standard_normal(size // 8)
        # Untimed: a get needs the value, and the first touch of memory is nobody's fault.
        put(array)
        if sys.argv[1] != "raw socket" and not np.array_equal(get(size), array):
            raise SystemExit(f"{sys.argv[1]} returned another array")

        def action(kind: str = kind, array: Any = array, size: int = size) -> object:
            return put(array) if kind == "put" else get(size)

        print(json.dumps(measure(action, rounds)), flush=True)


if __name__ == "__main__":
    main()
