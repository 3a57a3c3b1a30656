"""How a client and a model worker prove to each other that they know the database's password.

The worker sends `hpm1` and 32 random bytes, the client 32 of its own and a keyed hash of both, the
worker another one. The password never travels, and neither side's proof can be used by the other.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import ssl
from typing import Protocol

from hpcorch.client.credentials import Credentials
from hpcorch.client.frames import MAGIC
from hpcorch.errors import SecurityError

NONCE_BYTES = 32
_PROOF_BYTES = hashlib.sha256().digest_size


class Talk(Protocol):
    """A fresh connection; frames.Stream is one."""

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""

    def send_bytes(self, data: bytes) -> None:
        """Send `data`."""


def key_of(credentials: Credentials | None) -> bytes:
    """Return the key that the proofs are made with; without a password everybody has it."""
    password = "" if credentials is None else credentials.password
    return hashlib.sha256(b"hpcorch model worker\0" + password.encode()).digest()


def greet_worker(talk: Talk, key: bytes) -> None:
    """Do the client's part; raises SecurityError when the worker does not know the key."""
    greeting = talk.exactly(len(MAGIC) + NONCE_BYTES)
    if not greeting.startswith(MAGIC):
        raise SecurityError("what listens there is no model worker")
    theirs, ours = greeting[len(MAGIC) :], secrets.token_bytes(NONCE_BYTES)
    talk.send_bytes(ours + _proof(key, b"client", theirs + ours))
    try:
        answer = talk.exactly(_PROOF_BYTES)
    except ConnectionError as error:
        raise SecurityError("the model worker does not accept our password") from error
    if not hmac.compare_digest(answer, _proof(key, b"worker", theirs + ours)):
        raise SecurityError("the model worker does not know the database's password")


def greet_client(talk: Talk, key: bytes) -> None:
    """Do the worker's part; raises SecurityError when the client does not know the key."""
    ours = secrets.token_bytes(NONCE_BYTES)
    talk.send_bytes(MAGIC + ours)
    greeting = talk.exactly(NONCE_BYTES + _PROOF_BYTES)
    theirs, proof = greeting[:NONCE_BYTES], greeting[NONCE_BYTES:]
    if not hmac.compare_digest(proof, _proof(key, b"client", ours + theirs)):
        raise SecurityError("a client does not know the database's password")
    talk.send_bytes(_proof(key, b"worker", ours + theirs))


def client_tls(credentials: Credentials | None) -> ssl.SSLContext | None:
    """Return the context for connections to a worker over TCP, None when there is no TLS."""
    return _tls(credentials, ssl.PROTOCOL_TLS_CLIENT)


def worker_tls(credentials: Credentials | None) -> ssl.SSLContext | None:
    """Return the context for a worker's TCP listener, None when there is no TLS."""
    return _tls(credentials, ssl.PROTOCOL_TLS_SERVER)


def _tls(credentials: Credentials | None, protocol: ssl._SSLMethod) -> ssl.SSLContext | None:
    if credentials is None or credentials.tls_ca is None:
        return None
    context = ssl.SSLContext(protocol)
    # The private CA signs nothing but this database, hence the host name proves nothing more.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(str(credentials.tls_ca))
    if credentials.tls_cert is not None:
        key = None if credentials.tls_key is None else str(credentials.tls_key)
        context.load_cert_chain(str(credentials.tls_cert), key)
    return context


def _proof(key: bytes, who: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, who + nonces, "sha256")
