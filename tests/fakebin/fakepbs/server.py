"""The process behind the programs: one socket, one loop. `python -m` it with a directory.

It ends, and all jobs with it, when its standard input ends. Faults, by the name of a program:

- `banner`: prints lines before and after what it has to say
- `accepted`: does what it was asked for, but ends with 1 and says nothing
- `lost`: does it, and says that the connection broke
- `hang`: never answers, and does nothing; `late`: does it, and never answers
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fakebin.fakepbs import remote
from tests.fakebin.fakepbs.answers import Answer, Call, answer
from tests.fakebin.fakepbs.cluster import Cluster, Settings
from tests.fakebin.fakepbs.mom import Mom

TICK = 0.05
PATIENCE = 5.0
BANNER = "*** Welcome to the pretended PBS 23.06 ***\n\n"
LOST = "qsub: Batch protocol error (errno=15031)\n"


class Server:
    """Answers one message at a time, and lets time go on between them."""

    def __init__(self, root: Path, programs: Path) -> None:
        self._cluster = Cluster(Settings(), Mom(root, programs))
        self._listener = socket.socket(socket.AF_UNIX)
        # It gets its name when it can be connected to.
        unnamed = root / "socket.new"
        self._listener.bind(str(unnamed))
        self._listener.listen(64)
        unnamed.rename(root / "socket")
        # What the programs were called with since a test has asked for it.
        self._calls: list[list[str]] = []
        # Connections of calls that are never answered.
        self._forgotten: list[socket.socket] = []

    def serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(sys.stdin, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(TICK):
                    if key.fileobj is sys.stdin:
                        self._end()
                        return
                    self._answer(self._listener.accept()[0])
                self._cluster.advance()

    def _end(self) -> None:
        for _, task in self._cluster.tasks():
            for session in task.sessions:
                session.signal(signal.SIGKILL)
                session.wait()

    def _answer(self, connection: socket.socket) -> None:
        # A program that is killed while it asks must not hold up the others.
        connection.settimeout(PATIENCE)
        try:
            with connection.makefile("r") as stream:
                message: dict[str, Any] = json.loads(stream.readline())
        except (OSError, ValueError):
            connection.close()
            return
        fault = self._cluster.settings.faults.get(message["program"], "")
        if fault == "hang":
            self._forgotten.append(connection)
            return
        told = self._handle(message)
        if fault == "late":
            self._forgotten.append(connection)
            return
        if fault == "banner":
            told.out = f"{BANNER}{told.out}budget: 3 h left\n"
        elif fault == "accepted":
            told = Answer(code=1)
        elif fault == "lost":
            told = Answer(err=LOST, code=31)
        # Who has waited too long is not there any more.
        with suppress(OSError), connection:
            connection.sendall(json.dumps(asdict(told)).encode())

    def _handle(self, message: dict[str, Any]) -> Answer:
        program = message["program"]
        if program == "set":
            for name, value in message["settings"].items():
                setattr(self._cluster.settings, name, value)
            return Answer()
        if program == "end":
            codes = {int(index): code for index, code in message["codes"].items()}
            self._cluster.end(message["job"], codes)
            return Answer()
        if program == "calls":
            asked = json.dumps(self._calls)
            self._calls.clear()
            return Answer(asked)
        if program == "forget":
            # As after a server's restart from an old copy of its files.
            self._cluster.jobs.clear()
            return Answer()
        # A query sees what has become true by now.
        self._cluster.advance()
        if program == "remote":
            return remote.answer(message, self._cluster)
        self._calls.append([program, *message["argv"]])
        found = answer(Call(**message), self._cluster)
        self._cluster.advance()
        return found


if __name__ == "__main__":
    Server(Path(sys.argv[1]), Path(sys.argv[2])).serve()
