"""A database that runs: where it is, whether it answers, how it is administered.

Everything is read from its run directory, so any process of its owner can use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch import rundir
from hpcorch.client import registry
from hpcorch.client.credentials import Credentials, read_credentials
from hpcorch.errors import HpcorchError, NotActive

if TYPE_CHECKING:
    import redis

    from hpcorch.client import Client

# An administrative question to one shard; long enough for a busy one.
_TIMEOUT_SECONDS = 5.0
# A login node that may not reach compute nodes notices it after this long.
_CONNECT_SECONDS = 2.0


class Database:
    """A standard database in `directory`; `job` ties it to one run."""

    def __init__(self, directory: Path, job: str | None = None) -> None:
        self._directory = directory
        self._job = job

    def _address(self) -> dict[str, Any]:
        found = rundir.address(self._directory, self._job)
        if found is None:
            raise NotActive(f"the database in {self._directory} is not active")
        return found

    def is_published(self) -> bool:
        """Whether the database has said that it is ready and has not taken that back."""
        return rundir.address(self._directory, self._job) is not None

    def addresses(self) -> list[str]:
        """Return one "ip:port" per shard, in shard order; raises NotActive."""
        return [str(item) for item in self._address()["addresses"]]

    def is_active(self) -> bool:
        """Whether all shards answer and a cluster is whole."""
        try:
            return all(shard["state"] == "ok" for shard in self.health())
        except NotActive:
            return False

    def health(self) -> list[dict[str, object]]:
        """Return per shard: address, state (ok, fail or an error's text), keys, memory in bytes."""
        found = self._address()
        clustered = found["type"] == "Clustered"
        return [self._shard_health(address, clustered) for address in self.addresses()]

    def _shard_health(self, address: str, clustered: bool) -> dict[str, object]:
        from redis.exceptions import RedisError

        report: dict[str, object] = {"address": address, "state": "ok", "keys": 0, "memory": 0}
        try:
            with self._admin(address) as server:
                memory: Any = server.info("memory")
                report["memory"] = memory["used_memory"]
                report["keys"] = server.dbsize()
                if clustered:
                    cluster: Any = server.cluster("INFO")
                    report["state"] = cluster["cluster_state"]
        except RedisError as error:
            report["state"] = str(error)
        return report

    def config_set(self, key: str, value: str) -> None:
        """Send CONFIG SET to every shard; raises HpcorchError with a shard's refusal."""
        from redis.exceptions import RedisError

        for address in self.addresses():
            try:
                with self._admin(address) as server:
                    server.config_set(key, value)
            except RedisError as error:
                raise HpcorchError(f"shard {address} refuses {key} = {value!r}: {error}") from error

    def shut_down(self) -> None:
        """Ask every shard that answers to end; those that do not are left to the scheduler."""
        from redis import exceptions

        if not self.is_published():
            return
        for address in self.addresses():
            try:
                with self._admin(address) as server:
                    server.shutdown(nosave=True)
            except exceptions.TimeoutError:
                # This host does not reach the nodes: the other shards would only take as long.
                return
            except exceptions.RedisError:
                # It is gone, unreachable or refuses: cancelling the job comes next anyway.
                continue

    def register(self) -> None:
        """Let programs of this user find the credentials by the database's address."""
        registry.register(self.addresses(), self._directory / "address.json")

    def unregister(self, addresses: Sequence[str]) -> None:
        """Undo register."""
        registry.unregister(addresses, self._directory / "address.json")

    def client(self, logger_name: str) -> Client:
        """Return a Client that is connected to this database; raises NotActive."""
        from hpcorch.client import Client

        clustered = self._address()["type"] == "Clustered"
        self.register()
        return Client(cluster=clustered, address=self.addresses()[0], logger_name=logger_name)

    @contextmanager
    def _admin(self, address: str) -> Iterator[redis.Redis]:
        """Connect to one shard as the administrator."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        host, _, port = address.rpartition(":")
        secrets = self._secrets()
        server = redis.Redis(
            host=host,
            port=int(port),
            username=secrets.user if secrets else None,
            password=secrets.password if secrets else None,
            ssl=bool(secrets.tls_ca if secrets else None),
            ssl_ca_certs=_text(secrets.tls_ca if secrets else None),
            ssl_certfile=_text(secrets.tls_cert if secrets else None),
            ssl_keyfile=_text(secrets.tls_key if secrets else None),
            ssl_check_hostname=False,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield server
        finally:
            server.close()

    def _secrets(self) -> Credentials | None:
        path = self._directory / "admin-credentials"
        return read_credentials(path) if path.exists() else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
