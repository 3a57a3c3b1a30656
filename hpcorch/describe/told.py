"""How descriptions look when somebody prints them."""

from __future__ import annotations

from collections.abc import Mapping

_SAYS_NOTHING: tuple[object, ...] = (None, False, "", (), [], {})


def told(kind: str, facts: Mapping[str, object]) -> str:
    """Return `kind(name=value, ...)`, without the values that say nothing."""
    said = {name: value for name, value in facts.items() if value not in _SAYS_NOTHING}
    return f"{kind}({', '.join(f'{name}={value!r}' for name, value in said.items())})"
