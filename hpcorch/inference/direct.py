"""The direct way in: sockets on which callers are let in by the database's password."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

from hpcorch.client import handshake
from hpcorch.client.credentials import Credentials
from hpcorch.client.frames import FrameError, Stream
from hpcorch.client.messages import bad_answer, request_parser
from hpcorch.errors import SecurityError
from hpcorch.inference.faults import Fault
from hpcorch.inference.service import Admission, Service, Share

LOG = logging.getLogger("hpcorch.inference")
# Who has not proved to know the password by then is sent away.
_GREETING_SECONDS = 10.0
_MOST_CONNECTIONS = 4096
_BACKLOG = 1024
_PAUSE_SECONDS = 0.5


class Listener:
    """Serves every connection by a thread of its own, which sleeps while nothing comes."""

    def __init__(
        self, service: Service, admission: Admission, credentials: Credentials | None
    ) -> None:
        self._service = service
        self._admission = admission
        self._key = handshake.key_of(credentials)
        self._tls = handshake.worker_tls(credentials)
        self._parse = request_parser()
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def listen_local(self, path: Path) -> None:
        """Listen on a Unix socket in a directory that only its owner may enter."""
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        path.chmod(0o600)
        self._start(sock, None)

    def listen_tcp(self, host: str) -> int:
        """Listen on a free port of the address `host`; return the port."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family)
        sock.bind((host, 0))
        self._start(sock, self._tls)
        port: int = sock.getsockname()[1]
        return port

    def _start(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        sock.listen(_BACKLOG)
        threading.Thread(target=self._accept, args=(sock, tls), daemon=True).start()

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                # No more files may be open, most likely: others will be closed.
                LOG.warning("a connection could not be accepted: %s", error.strerror)
                time.sleep(_PAUSE_SECONDS)
                continue
            if not self._places.acquire(blocking=False):
                LOG.warning("more than %d connections: one was refused", _MOST_CONNECTIONS)
                sock.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(sock, tls), daemon=True).start()
            except RuntimeError as error:
                # No more threads may be begun: others will end.
                LOG.warning("a connection was refused: %s", error)
                sock.close()
                self._places.release()

    def _serve(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            with sock:
                self._converse(self._greeted(sock, tls))
        except SecurityError as error:
            LOG.warning("a connection was refused: %s", error)
        except OSError:
            # The caller has gone, which is how every conversation ends.
            pass
        finally:
            self._places.release()

    def _greeted(self, sock: socket.socket, tls: ssl.SSLContext | None) -> Stream:
        sock.settimeout(_GREETING_SECONDS)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(sock if tls is None else tls.wrap_socket(sock, server_side=True))
        handshake.greet_client(stream, self._key)
        stream.set_timeout(None)
        return stream

    def _converse(self, stream: Stream) -> None:
        share = Share(self._admission)
        try:
            while True:
                try:
                    request, arrays = stream.read(self._parse, share.take)
                    stream.send(*self._service.answer(request, arrays))
                except Fault as error:
                    stream.send(bad_answer(error.kind, str(error)), ())
                finally:
                    share.give_back()
        except FrameError as error:
            # What follows in the stream is of unknown meaning: say why, and hang up.
            with suppress(OSError):
                stream.send(bad_answer("refused", str(error)), ())
        finally:
            stream.close()
