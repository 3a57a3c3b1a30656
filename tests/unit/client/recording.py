"""A small server with RedisAI's tensor commands that records what it is sent."""

from __future__ import annotations

import re
import socket
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from hpcorch.client.replies import ReplyReader

Words = list[bytes]

# What belongs to connecting, and the answers.
_UNRECORDED: dict[bytes, Any] = {
    b"PING": "PONG",
    b"CLIENT": "OK",
    b"COMMAND": [[b"ai.tensorset"]],
}
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b"}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PIECE = re.compile(r"\\x([0-9a-f]{2})|\\(.)|(.)", re.DOTALL)


def read_transcript(path: Path) -> dict[str, list[Words]]:
    """Return the commands of each call in a file of calls and what MONITOR showed of them."""
    calls: dict[str, list[Words]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("CALL "):
            commands = calls[line[5:]] = []
        elif line.startswith("> "):
            commands.append([_unquoted(word) for word in _QUOTED.findall(line)])
    return calls


def _unquoted(text: str) -> bytes:
    found = b""
    for code, escaped, plain in _PIECE.findall(text):
        if code:
            found += bytes.fromhex(code)
        else:
            found += _ESCAPES.get(escaped, escaped.encode()) or plain.encode()
    return found


class RecordingServer:
    """Listens on a free port of 127.0.0.1; `recorded` holds the commands on data.

    It hangs up in the middle of its answer to a command in `cuts`, once for each time it is there.
    """

    def __init__(self) -> None:
        self.recorded: list[Words] = []
        self.cuts: Words = []
        self.tensors: dict[bytes, Words] = {}
        self.hashes: dict[bytes, dict[bytes, bytes]] = defaultdict(dict)
        self.lists: dict[bytes, Words] = defaultdict(list)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Who waits for a connection would else go on to wait, at a number that others get.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        queue: list[Words] | None = None
        reply: Any
        with peer:
            reader = ReplyReader(peer)
            while True:
                try:
                    words = reader.value()
                except OSError:
                    return
                if words[0] == b"MULTI":
                    queue, reply = [], "OK"
                elif words[0] == b"EXEC":
                    reply, queue = [self._answer(one) for one in queue or []], None
                elif queue is not None:
                    queue.append(words)
                    reply = "QUEUED"
                else:
                    reply = self._answer(words)
                answer = encode(reply)
                if words[0] in self.cuts:
                    self.cuts.remove(words[0])
                    peer.sendall(answer[: len(answer) // 2])
                    return
                peer.sendall(answer)

    def _answer(self, words: Words) -> Any:
        name, *arguments = words
        if name in _UNRECORDED:
            return _UNRECORDED[name]
        self.recorded.append(words)
        key = arguments[0] if arguments else b""
        if name == b"AI.TENSORSET":
            self.tensors[key] = arguments
            return "OK"
        if name == b"AI.TENSORGET":
            if key not in self.tensors:
                return ValueError("ERR tensor key is empty or in a different shard")
            _, dtype, *shape, _, blob = self.tensors[key]
            return [b"dtype", dtype, b"shape", [int(one) for one in shape], b"blob", blob]
        return self._answer_plain(name, key, arguments[1:])

    def _answer_plain(self, name: bytes, key: bytes, rest: Words) -> Any:
        if name in (b"HMSET", b"HSET"):
            self.hashes[key].update(zip(rest[::2], rest[1::2], strict=True))
            return len(rest) // 2
        if name == b"HGETALL":
            return [word for pair in self.hashes[key].items() for word in pair]
        if name == b"HEXISTS":
            return int(rest[0] in self.hashes[key])
        if name == b"RPUSH":
            self.lists[key] += rest
        if name == b"LRANGE":
            first = int(rest[0]) % (len(self.lists[key]) or 1)
            return self.lists[key][first:]
        if name in (b"RPUSH", b"LLEN"):
            return len(self.lists[key])
        if name == b"EXISTS":
            return int(key in self.tensors)
        if name == b"RENAME":
            self.tensors[rest[0]] = self.tensors.pop(key)
        if name in (b"DEL", b"UNLINK"):
            return sum(self._forget(one) for one in [key, *rest])
        return "OK"

    def _forget(self, key: bytes) -> int:
        return int(bool(self.tensors.pop(key, None)) | bool(self.hashes.pop(key, None)))


def encode(value: Any) -> bytes:
    """Return a reply as it goes over the wire; a str is a simple string, a ValueError an error."""
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    if isinstance(value, ValueError):
        return f"-{value}\r\n".encode()
    return f":{value}\r\n".encode() if isinstance(value, int) else f"+{value}\r\n".encode()
