"""A database that runs: where it is, whether it answers, how it is administered.

Everything is read from its run directory, so any process of its owner can use it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch import pastruns, rundir
from hpcorch.checkpoints import FOLDER
from hpcorch.client import registry
from hpcorch.client.credentials import Credentials, read_credentials
from hpcorch.errors import HpcorchError, InputError, NotActive, RunNotFound, StorageError
from hpcorch.journal import find_runs
from hpcorch.log import get_logger
from hpcorch.snapshots import RunSnapshot, merge

if TYPE_CHECKING:
    import redis

    from hpcorch.client import Client

# An administrative question to one shard; long enough for a busy one.
_TIMEOUT_SECONDS = 5.0
# How long a shard may take to write its data before it ends.
_SAVE_SECONDS = 600.0
# Shards save at the same time; more of them than this take turns.
_SAVERS = 64
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

    @property
    def checkpoint_path(self) -> str:
        """Where its checkpoints are, if it has saved any."""
        return str(self._directory / FOLDER)

    def remove_stale_files(self) -> None:
        """Remove what its last run has left; raises InputError while it is in use."""
        if self.is_published():
            raise InputError(f"the database in {self._directory} is running", "stop it first")
        if self._directory.is_dir():
            _note_end(self._directory)
            rundir.clear(self._directory)

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

    def saves(self) -> bool:
        """Whether the shards write their data before they end, as the first that answers says.

        Raises redis.exceptions.TimeoutError when this host does not reach the nodes.
        """
        from redis import exceptions

        for address in self.addresses():
            try:
                with self._admin(address) as server:
                    return bool(server.config_get("save")["save"])
            except exceptions.TimeoutError:
                raise
            except exceptions.RedisError:
                continue
        return False

    def shut_down(self) -> bool:
        """Ask every shard that answers to end; say whether they do.

        A database that saves has done so when this returns; what could not be saved is warned of.
        Shards that do not answer are left to the scheduler.
        """
        from redis import exceptions

        if not self.is_published():
            return False
        addresses = self.addresses()
        try:
            if not self.saves():
                for address in addresses:
                    self._end(address, _TIMEOUT_SECONDS)
                return True
        except exceptions.TimeoutError:
            # This host does not reach the nodes: the other shards would only take as long.
            return False
        return self._save_and_end(addresses)

    def _save_and_end(self, addresses: Sequence[str]) -> bool:
        from redis import exceptions

        log = get_logger("stop")
        log.info("the database in %s saves its data before it ends", self._directory)
        refused = False
        with ThreadPoolExecutor(_SAVERS) as pool:
            ends = [pool.submit(self._end, item, _SAVE_SECONDS) for item in addresses]
        for end, address in zip(ends, addresses, strict=True):
            try:
                refusal = end.result()
            except exceptions.TimeoutError:
                refusal = f"no answer within {_SAVE_SECONDS:g} s"
            refused |= bool(refusal)
            if refusal:
                log.warning("shard %s could not save its data: %s", address, refusal)
        return not refused

    def _end(self, address: str, seconds: float) -> str:
        """Ask one shard to end, and to save first if it was told to; return its refusal."""
        from redis import exceptions

        try:
            with self._admin(address, seconds) as server:
                server.shutdown()
        except exceptions.TimeoutError:
            raise
        except exceptions.ResponseError as error:
            return str(error)
        except exceptions.RedisError:
            # It is gone or unreachable: cancelling the job comes next anyway.
            return ""
        return ""

    def register(self) -> None:
        """Let programs of this user find the credentials by the database's address.

        Raises StorageError where that cannot be written down.
        """
        addresses = self.addresses()
        try:
            registry.register(addresses, self._directory / "address.json")
        except OSError as error:
            raise StorageError(
                f"{registry.registry_dir(os.environ)} cannot be written: {error.strerror}",
                "programs that are told an address only need HPCORCH_CREDENTIALS="
                f"{self._directory}/credentials",
            ) from error

    def unregister(self, addresses: Sequence[str]) -> None:
        """Undo register."""
        # What stays there is not believed: it names an address.json that lists nothing.
        with suppress(OSError):
            registry.unregister(addresses, self._directory / "address.json")

    def client(self, logger_name: str) -> Client:
        """Return a Client that is connected to this database; raises NotActive."""
        from hpcorch.client import Client, ConfigOptions

        found = self._address()
        options = ConfigOptions.create_from_environment("")
        options.override_string_option("SSDB", ",".join(map(str, found["addresses"])))
        options.override_string_option("SR_DB_TYPE", str(found["type"]))
        options.override_string_option("HPCORCH_CREDENTIALS", str(found.get("credentials") or ""))
        return Client(options, logger_name)

    @contextmanager
    def _admin(self, address: str, seconds: float = _TIMEOUT_SECONDS) -> Iterator[redis.Redis]:
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
            socket_timeout=seconds,
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


def _note_end(directory: Path) -> None:
    """Write down how the last run here ended, before what tells it is removed."""
    with suppress(RunNotFound):
        run = find_runs(directory)[-1]
        records = rundir.exit_records(directory, run.mark)
        tasks = (
            merge(
                number,
                None,
                None,
                records.get(number),
                service=True,
                stop_wanted=run.stop_wanted(number),
                gone=True,
            )
            for number in run.numbers
        )
        pastruns.note(RunSnapshot(run, tuple(tasks)))
