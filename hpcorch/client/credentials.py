"""Name, password and TLS files of a database, read from a private file.

The file holds lines `key=value` with the keys `user`, `password`, `tls_ca`, `tls_cert`, `tls_key`;
blank lines and lines that begin with `#` are skipped. The TLS values are paths, relative ones to
the file's own directory; they are there when the data port speaks TLS.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hpcorch.errors import InputError, SecurityError

_KEYS = ("user", "password", "tls_ca", "tls_cert", "tls_key")


@dataclass(frozen=True)
class Credentials:
    """What a server asks for before it talks.

    `user` "" means the server's default user. `tls_ca` None means no TLS; `tls_cert` and `tls_key`
    come together and prove to the server who we are. `source` is the file they came from.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    source: Path | None = None


def read_credentials(path: str | os.PathLike[str]) -> Credentials:
    """Return the credentials in the file at `path`.

    Raises SecurityError when anybody but the owner may access the file, InputError when it cannot
    be read or does not follow the format.
    """
    source = Path(path).expanduser()
    values = _pairs(source, _private_text(source))
    files = {key: _tls_file(source, key, values[key]) for key in _KEYS[2:] if key in values}
    found = Credentials(
        user=values.get("user", ""),
        password=values.get("password", ""),
        tls_ca=files.get("tls_ca"),
        tls_cert=files.get("tls_cert"),
        tls_key=files.get("tls_key"),
        source=source,
    )
    _check_complete(found)
    return found


def _private_text(source: Path) -> str:
    try:
        with source.open(encoding="utf-8") as stream:
            # The open file is asked, not the path: the path may change in between.
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077:
                raise SecurityError(
                    f"other users may access the credentials file {source} (mode {mode:04o})",
                    hint=f"chmod 600 {source}, and change the password if others may have read it",
                )
            return stream.read()
    except OSError as error:
        raise InputError(f"cannot read the credentials file {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the credentials file {source} is not UTF-8 text") from error


def _pairs(source: Path, text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        # The line itself stays out of the message: it may hold the password.
        if not equals or key.strip() not in _KEYS:
            raise InputError(
                f"line {number} of the credentials file {source} is not understood",
                hint="lines are key=value with one of the keys " + ", ".join(_KEYS),
            )
        values[key.strip()] = value
    return values


def _tls_file(source: Path, key: str, value: str) -> Path:
    path = source.parent / value
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise InputError(
            f"{key} in the credentials file {source} names {path}, "
            f"which cannot be read: {error.strerror}"
        ) from error


def _check_complete(found: Credentials) -> None:
    if found.user and not found.password:
        raise InputError(f"the credentials file {found.source} names a user but no password")
    if (found.tls_cert is None) != (found.tls_key is None):
        raise InputError(
            f"the credentials file {found.source} must give tls_cert and tls_key together"
        )
    if found.tls_cert is not None and found.tls_ca is None:
        raise InputError(f"the credentials file {found.source} gives tls_cert without tls_ca")
