"""Escapes for text from outside."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` in visible ASCII; other characters become backslash escapes."""
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in text
    )
