"""The layers of a site profile, read and laid over each other; later ones win.

Shipped defaults, /etc/xdg/hpcorch/site.toml, $HPCORCH_SITE, the user's
~/.config/hpcorch/site.toml, hpcorch.toml of the directory where one works, an explicit file, then
single variables such as HPCORCH_INTERFACE.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcorch.describe.check import walltime_seconds
from hpcorch.errors import SiteError
from hpcorch.paths import distrust
from hpcorch.sites.profile import Queue, Site
from hpcorch.sites.values import KEYS, checked, checked_queues, from_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT_PROFILE = "hpcorch.toml"
_SYSTEM_DIR = Path("/etc/xdg/hpcorch")
_PROFILE = "site.toml"
_PREFIX = "HPCORCH_"
# Variables that are no site keys: those that people set.
_OTHERS = frozenset({"SITE", "LOG_LEVEL", "MODULE", "TOPOLOGY"})
# Nearer than this, an unknown variable is taken for a slip of the pen.
_RESEMBLES = 0.8


def load_site(environ: Mapping[str, str], explicit: str | None = None) -> Site:
    """Read all layers that exist; raises SiteError that names the file and the key at fault."""
    values: dict[str, Any] = {}
    queues: dict[str, dict[str, Any]] = {}
    origins = dict.fromkeys(KEYS, "default")
    for path, required in _layers(environ, explicit):
        if not required and not _is_file(path):
            continue
        found = _read(path)
        for name, table in checked_queues(found.pop("queues", {}), str(path)).items():
            queues.setdefault(name, {}).update(table)
            origins[f"queues.{name}"] = str(path)
            origins.update({f"queues.{name}.{key}": str(path) for key in table})
        for key, value in found.items():
            values[key] = _anchored(key, checked(key, value, str(path)), path.parent)
            origins[key] = str(path)
    for key, variable in _variables(environ).items():
        values[key] = checked(key, from_text(key, environ[variable]), variable)
        origins[key] = variable
    tables = {name: Queue(**table) for name, table in queues.items()}
    site = Site(**values, queues=tables, origins=origins)
    for name in tables:
        _refuse_too_long(name, site)
    return site


def _refuse_too_long(name: str, site: Site) -> None:
    """Refuse a queue whose own time for jobs that say none is more than it allows."""
    queue, key = site.queues[name], f"queues.{name}"
    if queue.max_time and walltime_seconds(queue.time) > walltime_seconds(queue.max_time):
        raise SiteError(
            f"{site.origin(f'{key}.time')} sets {key}.time to {queue.time!r}: it must not be above "
            f"its max_time, {queue.max_time!r} ({site.origin(f'{key}.max_time')})"
        )


def template_dirs(site: Site, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return where templates are looked for before the shipped ones, the first one winning.

    The user's own directory and the machine's, where there are any, and between them those that the
    profile names, which must be there.
    """
    return (*_if_there(_user_dir(environ)), *site.template_dirs, *_if_there(_SYSTEM_DIR))


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable of each key that has one; raises SiteError for what resembles one."""
    known = {f"{_PREFIX}{key.upper()}": key for key in KEYS}
    for variable in environ:
        if not variable.startswith(_PREFIX) or variable in known:
            continue
        if variable.removeprefix(_PREFIX) in _OTHERS:
            continue
        # Without the prefix, which would make any two alike.
        close = difflib.get_close_matches(
            variable.removeprefix(_PREFIX).lower(), KEYS, n=1, cutoff=_RESEMBLES
        )
        if close:
            raise SiteError(
                f"the variable {variable} is set, and is nothing that hpcorch knows",
                f"did you mean {_PREFIX}{close[0].upper()}? else unset {variable}",
            )
    return {key: variable for variable, key in known.items() if variable in environ}


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
    layers.append((Path(_PROJECT_PROFILE).absolute(), False))
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


def _anchored(key: str, value: Any, folder: Path) -> Any:
    """Let relative paths in a profile start at the profile's own directory."""
    if key == "template_dirs":
        return tuple(str(folder.absolute() / Path(item).expanduser()) for item in value)
    if key == "server_conf" and value:
        return str(folder.absolute() / Path(value).expanduser())
    return value
