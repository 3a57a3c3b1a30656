"""Where the databases that this user started are listed by address.

A directory of symbolic links, one an address (and machine, for loopback addresses and sockets),
each to the `address.json` of its database. With it `Client(cluster, address)` finds the credentials
of a database that the same user started.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def registry_dir(environ: Mapping[str, str]) -> Path:
    """Return `${XDG_STATE_HOME:-~/.local/state}/hpcorch/addresses`; it need not exist."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    # The XDG rules say that a relative path there is to be ignored.
    if not state.is_absolute():
        home = environ.get("HOME") or os.path.expanduser("~")
        state = Path(home, ".local", "state")
    return state / "hpcorch" / "addresses"


def register(
    addresses: Sequence[str], address_json: Path, environ: Mapping[str, str] = os.environ
) -> None:
    """List every one of `addresses` (`ip:port` or a socket's path) as served by `address_json`.

    Replaces earlier entries of the same address. Raises OSError when the directory cannot be
    written.
    """
    directory = registry_dir(environ)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    target = address_json.absolute()
    for address in addresses:
        link = directory / _link_name(address)
        fresh = directory / f".{os.getpid()}.{threading.get_ident()}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(link)


def unregister(
    addresses: Sequence[str], address_json: Path, environ: Mapping[str, str] = os.environ
) -> None:
    """Remove `addresses` from the list, except those that another database has taken over."""
    target = address_json.absolute()
    for address in addresses:
        link = registry_dir(environ) / _link_name(address)
        if link.is_symlink() and link.readlink() == target:
            link.unlink(missing_ok=True)


def find_credentials(address: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the credentials file of the database at `address`, or None if there is none known.

    Only an `address.json` that belongs to this user and still lists the address is believed.
    """
    link = registry_dir(environ) / _link_name(address)
    try:
        with link.open(encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_uid != os.getuid():
                return None
            facts = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("addresses"), list):
        return None
    listed = {_plain(entry) for entry in facts["addresses"] if isinstance(entry, str)}
    credentials = facts.get("credentials")
    if _plain(address) not in listed or not isinstance(credentials, str) or not credentials:
        return None
    # A relative path is meant from the directory that address.json lies in.
    return Path(os.path.realpath(link)).parent / credentials


def _plain(address: str) -> str:
    return address.removeprefix("tcp://").removeprefix("unix://")


def _link_name(address: str) -> str:
    """Return the name of an address's link; what leads nowhere but to this machine names it too.

    Many machines may share one home.
    """
    plain = _plain(address).replace("/", "%2F")
    near = plain.startswith(("127.", "%2F"))
    return f"{os.uname().nodename} {plain}" if near else plain
