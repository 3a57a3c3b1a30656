"""The site profile: what is true of a machine, from layered TOML files and HPCORCH_* variables.

Later layers win: shipped defaults, /etc/xdg/hpcorch/site.toml, $HPCORCH_SITE, the user's
~/.config/hpcorch/site.toml, an explicit file, then single variables such as HPCORCH_INTERFACE.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch.errors import SiteError
from hpcorch.paths import distrust

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SYSTEM_DIR = Path("/etc/xdg/hpcorch")
_PROFILE = "site.toml"


@dataclass(frozen=True)
class Site:
    """Values of one machine; `origins` tells for each which file or variable it came from.

    `python` is the Python that model workers run in; empty means the one that hpcorch runs in.
    `mpi` is the library that mpirun and mpiexec belong to: openmpi, hydra (MPICH, Intel MPI) or
    pals; auto asks them. `command_timeout_seconds` is how long a command of the batch system may
    take. `pbs_dialect` is pbs, or torque for `nodes=N:ppn=M` and arrays by `-t`; `pbs_place` is how
    PBS gives a database's shard a node of its own: excl, exclhost or none; `pbs_starter` is what
    reaches the other nodes of a PBS job: pbsdsh, pbs_tmrsh, ssh or mpiexec.
    `max_array_size` is the most tasks of a job array where the batch system does not say it (0:
    no limit).
    """

    scheduler: str = "auto"
    interface: tuple[str, ...] = ()
    server: str = ""
    server_conf: str = ""
    template_dirs: tuple[str, ...] = ()
    boot_seconds: int = 60
    deadline_seconds: int = 600
    python: str = ""
    mpi: str = "auto"
    command_timeout_seconds: int = 120
    pbs_dialect: str = "pbs"
    pbs_place: str = "excl"
    pbs_starter: str = "pbsdsh"
    max_array_size: int = 0
    origins: Mapping[str, str] = field(default_factory=dict)


_CHOICES = {
    "mpi": ("auto", "openmpi", "hydra", "pals"),
    "pbs_dialect": ("pbs", "torque"),
    "pbs_place": ("excl", "exclhost", "none"),
    "pbs_starter": ("pbsdsh", "pbs_tmrsh", "ssh", "mpiexec"),
}
_KEYS = {item.name: item for item in dataclasses.fields(Site) if item.name != "origins"}


def load_site(environ: Mapping[str, str], explicit: str | None = None) -> Site:
    """Read all layers that exist; raises SiteError that names the file and the key at fault."""
    values: dict[str, Any] = {}
    origins = dict.fromkeys(_KEYS, "default")
    for path, required in _layers(environ, explicit):
        if not required and not _is_file(path):
            continue
        for key, value in _read(path).items():
            values[key] = _anchored(key, _checked(key, value, str(path)), path.parent)
            origins[key] = str(path)
    for key in _KEYS:
        variable = f"HPCORCH_{key.upper()}"
        if variable in environ:
            values[key] = _checked(key, _from_text(key, environ[variable]), variable)
            origins[key] = variable
    return Site(**values, origins=origins)


def template_dirs(site: Site, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return where templates are looked for before the shipped ones, the first one winning.

    The user's own directory and the machine's, where there are any, and between them those that the
    profile names, which must be there.
    """
    return (*_if_there(_user_dir(environ)), *site.template_dirs, *_if_there(_SYSTEM_DIR))


def _if_there(folder: Path) -> tuple[str, ...]:
    templates = str(folder / "templates")
    # Path.is_dir raises where a parent may not be entered, which is no reason to refuse anything.
    return (templates,) if os.path.isdir(templates) else ()  # noqa: PTH112


def _user_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hpcorch"


def _layers(environ: Mapping[str, str], explicit: str | None) -> list[tuple[Path, bool]]:
    layers = [(_SYSTEM_DIR / _PROFILE, False)]
    if environ.get("HPCORCH_SITE"):
        layers.append((Path(environ["HPCORCH_SITE"]), True))
    layers.append((_user_dir(environ) / _PROFILE, False))
    if explicit is not None:
        layers.append((Path(explicit), True))
    return layers


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise SiteError(f"site profile {path} cannot be read: {error.strerror}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        reason = distrust(path)
        if reason is not None:
            raise SiteError(f"site profile {reason[0]}", reason[1])
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SiteError(f"site profile {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteError(f"site profile {path} is not valid TOML: {error}") from error
    return values


def _checked(key: str, value: Any, origin: str) -> Any:
    if key not in _KEYS:
        close = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(_KEYS)
        raise SiteError(f"{origin} sets {key!r}, which is no site key", hint)
    default = _KEYS[key].default
    if isinstance(default, tuple):
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise SiteError(f"{origin} sets {key} to {value!r}: it must be a list of texts")
    # Where 0 is the default it means that there is no limit.
    lowest = 0 if default == 0 else 1
    if type(value) is not type(default) or (isinstance(value, int) and value < lowest):
        number = "a whole number above 0" if lowest else "0 or a whole number above it"
        allowed = number if isinstance(default, int) else "text"
        raise SiteError(f"{origin} sets {key} to {value!r}: it must be {allowed}")
    if value not in _CHOICES.get(key, (value,)):
        allowed = ", ".join(_CHOICES[key])
        raise SiteError(f"{origin} sets {key} to {value!r}: it must be one of {allowed}")
    return value


def _anchored(key: str, value: Any, folder: Path) -> Any:
    """Let relative paths in a profile start at the profile's own directory."""
    if key == "template_dirs":
        return tuple(str(folder.absolute() / Path(item).expanduser()) for item in value)
    if key == "server_conf" and value:
        return str(folder.absolute() / Path(value).expanduser())
    return value


def _from_text(key: str, text: str) -> Any:
    default = _KEYS[key].default
    if isinstance(default, int):
        return int(text) if text.isascii() and text.isdecimal() else text
    return [part for part in text.split(",") if part] if isinstance(default, tuple) else text
