"""Options whose words are pairs or lists, what is read from them, and options that need others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hpcorch.errors import InputError

if TYPE_CHECKING:
    from argparse import Namespace, _ActionsContainer


def repeated(parser: _ActionsContainer, option: str, metavar: str, what: str) -> None:
    """Declare an option that may be given several times."""
    parser.add_argument(
        option, action="append", default=[], metavar=metavar, help=f"{what}; may be repeated"
    )


def given(args: Namespace, option: str) -> bool:
    """Say whether somebody has said this option; its default must be None, False, 0 or []."""
    return getattr(args, option.lstrip("-").replace("-", "_")) not in (None, False, 0, [])


def refuse_alone(args: Namespace, options: Iterable[str], what: str, *needed: str) -> None:
    """Raise InputError for options that say something of `what` when nothing `needed` is said."""
    if any(given(args, option) for option in needed):
        return
    for option in options:
        if given(args, option):
            raise InputError(f"{option} is for {what}", f"add {' or '.join(needed)}")


def refuse_empty(args: Namespace, options: Iterable[str]) -> None:
    """Raise InputError for options that were given an empty word: a shell's variable was empty."""
    for option in options:
        said = getattr(args, option.lstrip("-").replace("-", "_"), None)
        if said == "" or (isinstance(said, list) and "" in said):
            raise InputError(f"{option} is empty", "leave it out, or say something")


def pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Read KEY=VALUE words; without '=' there is no value."""
    parts = [word.partition("=") for word in words]
    return [(key, value if mark else None) for key, mark, value in parts]


def settled(option: str, words: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE words, each of a new name; raises InputError that names the option."""
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or name in found:
            raise InputError(f"{option} is {word!r}: it must be a new NAME=VALUE")
        found[name] = value
    return found
