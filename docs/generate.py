"""The man page, completions, and lists of options and blind spots, from the code: `make docs`.

Committed, so that an installation has them; a test fails when they are stale.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from xctl_probe.cli import app
from xctl_probe.commands import help_language
from xctl_probe.config.option import Option
from xctl_probe.config.options import FILE_KEYS, OPTIONS
from xctl_probe.sources.blind_spots import BLIND_SPOTS

NAME = "xctl-probe-network"
# Beside the code, so that whatever builds the package has them.
FOLDER = Path(__file__).parents[1] / "xctl_probe" / "share"
BLIND_SPOTS_PAGE = Path(__file__).with_name("blind-spots.md")
CATALOGUES = sorted(help_language.FOLDER.glob("*/LC_MESSAGES/*.po"))
OPTIONS_PAGE = Path(__file__).with_name("options.md")
_COMPLETE = "_XCTL_PROBE_NETWORK_COMPLETE"
_COMPLETIONS = {
    "bash": f"{NAME}.bash",
    "zsh": f"_{NAME}",
    "fish": f"{NAME}.fish",
}
_EXIT_CODES = (
    ("0", "Done; for check: some source works."),
    (
        "1",
        "No source works here, or stdout cannot be written; for status --check: a probe is "
        "unhealthy.",
    ),
    (
        "2",
        "Bad input: an option, a variable, the file, or a process that is not there; for status: "
        "no probe runs.",
    ),
)
_EXAMPLES = (
    (f"{NAME} | xctl ingest", "Feed a consumer, such as xctl or jq."),
    (f"{NAME} why 4711", "What does this process wait for?"),
    (f"sudo {NAME} profile 4711", "Which system calls does it make, and what is it bound by?"),
    (f"sudo {NAME} blame", "Which process do all others wait for?"),
    (f"sudo {NAME} --record DIR why 4711 --since 10m", "What did it wait for, from a recording?"),
    (f"{NAME} --interval 0.5 top", "Watch all of them, twice a second."),
    (f"sudo {NAME} status --check", "Are the probes of this host healthy?"),
    (f"sudo {NAME} check", "Which sources work here, and what would make the others work?"),
)


def files() -> dict[str, str]:
    """Name of a file in xctl_probe/share to its content."""
    found = {f"{NAME}.1": man_page()}
    for shell, path in _COMPLETIONS.items():
        script = get_completion_script(prog_name=NAME, complete_var=_COMPLETE, shell=shell)
        found[path] = f"{script.strip()}\n"
    return found


def catalogue(path: Path) -> bytes:
    """The compiled form of a catalogue of help texts, for gettext."""
    made = io.BytesIO()
    write_mo(made, read_po(path.open("rb")))
    return made.getvalue()


def blind_spots() -> str:
    """A table: one line for each blind spot, one column for each source."""
    declared = dict.fromkeys(spot for found in BLIND_SPOTS.values() for spot in found)
    lines = [
        "# What each source cannot observe",
        "",
        "`xctl-probe-network check` prints the source that is used here."
        " x: not observed by that source.",
        "",
        f"| | {' | '.join(BLIND_SPOTS)} |",
        f"|---|{'---|' * len(BLIND_SPOTS)}",
    ]
    for spot in declared:
        marks = (" x " if spot in spots else "   " for spots in BLIND_SPOTS.values())
        lines.append(f"| {spot.text} |{'|'.join(marks)}|")
    return "\n".join(lines) + "\n"


def options() -> str:
    """A table: one line for each option that is shown, from the table of options."""
    lines = [
        "# Options",
        "",
        "An option overrides its variable. A variable overrides the key of the TOML file that",
        "`--config` names. Several values are separated by spaces in a variable, and are a list in",
        "the file. An option without a value is 1 or 0 in a variable, true or false in the file.",
        "Source: where the option has an effect.",
        "",
        "A variable that begins with `XCTL_NETWORK_` and is of no option is named on stderr, with",
        "the option that it resembles, and has no effect. It is no error, because other programs",
        "may have the prefix: Kubernetes sets `XCTL_NETWORK_PORT` where a service is called",
        "`xctl-network`. An unknown key of the file is an error.",
        "",
        "<!-- options: docs/generate.py -->",
        "| option | value | default | variable | key of the file | source | |",
        "|---|---|---|---|---|---|---|",
        *(_row(option) for option in OPTIONS if not option.hidden),
        "<!-- options end -->",
    ]
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    value = "" if option.kind is bool else option.metavar or option.kind.__name__.lower()
    if issubclass(option.kind, StrEnum):
        value = ", ".join(f"`{member}`" for member in option.kind)
    cells = (
        f"`--{option.name}`",
        value,
        "" if option.default is None or option.default is False else str(option.default),
        f"`{option.variable}`" if option.variable else "",
        f"`{option.name}`" if option.name in FILE_KEYS else "",
        ", ".join(option.sources) or "all",
        option.help,
    )
    return f"| {' | '.join(cells)} |"


def man_page() -> str:
    """The page in roff, man(7)."""
    group: Any = typer.main.get_command(app)
    summary, *paragraphs = (p for p in _paragraphs(group.help) if not p.startswith(NAME))
    lines = [
        f'.TH {NAME.upper()} 1 "" "" "User Commands"',
        ".SH NAME",
        f"{_text(NAME)} \\- which process waits on the network, where, how long and why",
        ".SH SYNOPSIS",
        f".B {_text(NAME)}",
        "[\\fIOPTIONS\\fR] [\\fBtop\\fR | \\fBwhy\\fR \\fIPID\\fR | \\fBprofile\\fR \\fIPID\\fR"
        " | \\fBblame\\fR | \\fBstatus\\fR | \\fBcheck\\fR]",
        ".SH DESCRIPTION",
        _text(summary),
        *(line for paragraph in paragraphs for line in (".PP", _text(paragraph))),
        ".SH COMMANDS",
        *_commands(group),
        ".SH OPTIONS",
        *_options(group),
        ".SH ENVIRONMENT",
        "Each option that names a variable above takes it from there; an option counts before its",
        "variable, a variable before the file of",
        ".BR \\-\\-config .",
        ".B NO_COLOR",
        "keeps",
        ".B top",
        "from using colour.",
        ".SH EXIT STATUS",
        *_tagged(_EXIT_CODES),
        ".SH EXAMPLES",
        *_tagged(_EXAMPLES),
        ".SH SEE ALSO",
        ".BR ss (8),",
        ".BR tcp (7),",
        ".BR bpf (2)",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        words = "".join(f" \\fI{p.name.upper()}\\fR" for p in arguments)
        yield from (".TP", f"\\fB{_text(name)}\\fR{words}")
        yield _text(" ".join(_paragraphs(command.help)))
        for option in _visible(command):
            value = "" if option.is_flag else f" \\fI{option.metavar}\\fR"
            tag = f"\\fB{_text(option.opts[0])}\\fR{value}"
            yield from (".RS", ".TP", tag, _text(option.help), ".RE")


def _options(group: Any) -> Iterator[str]:
    for option in _visible(group):
        choices = getattr(option.type, "choices", None)
        value = (
            ""
            if option.is_flag
            else f" \\fI{option.metavar or option.name.upper().replace('_', '-')}\\fR"
        )
        if choices:
            value = " " + "|".join(_text(str(getattr(c, "value", c))) for c in choices)
        variable = f" Variable: {option.envvar}." if option.envvar else ""
        yield from (".TP", f"\\fB{_text(option.opts[0])}\\fR{value}")
        yield _text(option.help + variable)


def _visible(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "option" and not p.hidden]


def _tagged(pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for tag, text in pairs:
        yield from (".TP", f".B {_text(tag)}", _text(text))


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]


def _text(text: str) -> str:
    """Text in roff: hyphens that are to be copied stay hyphens, no line is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(content)
    BLIND_SPOTS_PAGE.write_text(blind_spots())
    OPTIONS_PAGE.write_text(options())
    for path in CATALOGUES:
        path.with_suffix(".mo").write_bytes(catalogue(path))


if __name__ == "__main__":
    main()
