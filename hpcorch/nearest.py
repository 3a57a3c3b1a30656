"""What somebody may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str], listing: str = "known: ") -> str:
    """Return a question about the nearest known word, else the list of them all."""
    import difflib

    words = list(known)
    # Who has typed only the beginning of a word means that one.
    longer = [item for item in words if word and item.startswith(word)]
    close = longer or difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]!r}?" if close else listing + ", ".join(words)
