"""Help in the language of the environment, where there is a catalogue: `xctl_probe/locale`.

The language is that of LANGUAGE, LC_ALL, LC_MESSAGES or LANG, in this order (gettext(3)).  typer
takes its own words, such as *Options*, from the same catalogue by `gettext.gettext`.
"""

from __future__ import annotations

import gettext
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOMAIN = "xctl-probe-network"
FOLDER = Path(__file__).parents[1] / "locale"
_CLOSING = ",.;:!?)]，。；：！？、）】》”"  # a line does not begin with them


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a help text, each on one line: what the catalogue has."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]


def translate(command: Any) -> None:
    """Translate the help of a command of typer, and of its subcommands, in place.

    Does nothing without a catalogue of the language, or where stdout cannot have its characters.
    """
    if gettext.find(DOMAIN, str(FOLDER)) is None:
        return
    gettext.bindtextdomain(DOMAIN, str(FOLDER))
    gettext.textdomain(DOMAIN)
    if not _prints(gettext.gettext("Options")):
        gettext.textdomain("messages")
        return
    for one in (command, *command.commands.values()):
        texts = [gettext.gettext(text) for text in paragraphs(one.help)]
        one.help = "\n\n".join(texts)
        one.short_help = texts[0].rstrip("。")
        for parameter in one.params:
            if parameter.help:
                parameter.help = gettext.gettext(parameter.help)
    command.context_class.formatter_class = _wide(command.context_class.formatter_class)


def _prints(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def spread(text: str) -> str:
    """Return the text with a space after each character that is two columns wide.

    Lines are then wrapped at the right column, and between any two such characters, though not
    before a closing one.  `gather` is the opposite.
    """
    found, spaces = [], 0
    for here, after in zip(text, f"{text[1:]} ", strict=False):
        found.append(here)
        spaces += _is_wide(here)
        if spaces and after not in _CLOSING:
            found.append(" " * spaces)
            spaces = 0
    return "".join(found)


def gather(text: str) -> str:
    """Return the text without the spaces of `spread`."""
    found: list[str] = []
    spaces = 0
    for character in text:
        if character == " " and spaces:
            spaces -= 1
            continue
        if _is_wide(character):
            spaces += 1
        elif character not in _CLOSING:
            spaces = 0
        found.append(character)
    return "".join(found)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _wide(base: Any) -> Any:
    """Return a formatter that counts columns and not characters."""

    class Formatter(base):  # type: ignore[misc]
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, prefix or gettext.gettext("Usage: "))

        def write_text(self, text: str) -> None:
            super().write_text(spread(text))

        def write_dl(self, rows: Iterable[tuple[str, str]], *columns: int, **named: int) -> None:
            # --help has its text from the library, untranslated.
            spreads: Sequence[tuple[str, str]] = [
                (name, spread(gettext.gettext(text))) for name, text in rows
            ]
            super().write_dl(spreads, *columns, **named)

        def getvalue(self) -> str:
            return gather(super().getvalue())

    return Formatter
