"""The calls of a client to single servers of the database: facts, configuration, saving.

A database started with passwords lets its programs do none of this: the calls then raise
RedisRuntimeError (NOPERM). `hpcorch` itself and databases with security="open" may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpcorch.client.keys import encoded
from hpcorch.client.model_store import ModelStore
from hpcorch.client.module_store import key_at
from hpcorch.client.session import Session
from hpcorch.errors import InputTypeError

Info = dict[str, dict[str, str]]


class NodeCalls(Session):
    """Each address is `host:port` or `unix://path` of one server of this database.

    A comma list of them, such as SSDB, stands for all of them. All calls raise RedisRuntimeError
    for another address.
    """

    def get_db_node_info(self, addresses: list[str]) -> list[Info]:
        """Return for each server what INFO says: values by field, by section."""
        replies = [self._ask_node(one, "INFO", "EVERYTHING") for one in _listed(addresses)]
        return [parse_info(_text(reply)) for reply in replies]

    def get_db_cluster_info(self, addresses: list[str]) -> list[dict[str, str]]:
        """Return for each server what CLUSTER INFO says, by field.

        Raises RedisRuntimeError when the database is no cluster.
        """
        replies = [self._ask_node(one, "CLUSTER", "INFO") for one in _listed(addresses)]
        return [_fields(_text(reply).splitlines()) for reply in replies]

    def get_ai_info(
        self, address: list[str], key: str, reset_stat: bool = False
    ) -> list[dict[str, str]]:
        """Return for each server what is known of the model or script `key`, by field.

        On a plain server these are `key`, `type`, `backend`, `device` and `tag`, on one with
        RedisAI's commands what AI.INFO says. With `reset_stat` RedisAI's statistics are set to zero
        instead, and the answers are empty. Raises RedisRuntimeError when there is no such model or
        script.
        """
        if not isinstance(reset_stat, bool):
            raise InputTypeError(
                f"reset_stat must be True or False, not {type(reset_stat).__name__}"
            )
        name, servers = encoded(key), _listed(address)
        copies = {one: key_at(self._router, one, name) for one in servers}
        stored = self._known_model(key)
        if stored is not None:
            return [{} if reset_stat else dict(stored) for _ in servers]
        more = [b"RESETSTAT"] if reset_stat else []
        found = []
        for one in servers:
            reply = self._ask_node(one, b"AI.INFO", copies[one], *more)
            found.append(_pairs(reply) | {"key": key} if isinstance(reply, list) else {})
        return found

    def config_get(self, expression: str, address: str) -> dict[str, str]:
        """Return the parameters of a server, the first one, that match `expression`, if any."""
        words = ("CONFIG", "GET", encoded(expression))
        return _pairs(self._ask_node(_split(address)[0], *words))

    def config_set(self, config_param: str, value: str, address: str) -> None:
        """Set a parameter of a server. Raises RedisRuntimeError for one that it does not have."""
        words = ("CONFIG", "SET", encoded(config_param), encoded(value))
        for one in _split(address):
            self._ask_node(one, *words)

    def save(self, addresses: list[str]) -> None:
        """Let each server write its data to disk, one after another, and wait for it."""
        for address in _listed(addresses):
            self._ask_node(address, "SAVE")

    def flush_db(self, addresses: list[str]) -> None:
        """Remove all keys of each server."""
        for address in _listed(addresses):
            self._ask_node(address, "FLUSHDB")

    def _known_model(self, name: str) -> dict[str, str] | None:
        store = ModelStore(self._router)
        found = store.find("model", name) or store.find("script", name)
        if found is None:
            return None
        return {
            "key": name,
            "type": found.kind.upper(),
            "backend": found.backend,
            "device": found.device,
            "tag": found.tag,
        }

    def _ask_node(self, address: str, *words: str | bytes) -> Any:
        return self._router.run_on(address, lambda link: link.command(*words))


def parse_info(text: str) -> Info:
    """Return the values by field, by section, of a reply to INFO."""
    found: Info = {}
    for block in text.split("# ")[1:]:
        title, *lines = block.splitlines()
        found.setdefault(title.strip(), {}).update(_fields(lines))
    return found


def _fields(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {field: value for field, _, value in pairs}


def _pairs(reply: list[Any]) -> dict[str, str]:
    texts = [_text(word) for word in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _text(word: object) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _listed(addresses: list[str]) -> list[str]:
    if not isinstance(addresses, list):
        raise InputTypeError(f"addresses must be a list, not {type(addresses).__name__}")
    return [part for one in addresses for part in _split(one)]


def _split(address: str) -> list[str]:
    if not isinstance(address, str):
        raise InputTypeError(f"an address must be a string, not {type(address).__name__}")
    return address.split(",")
