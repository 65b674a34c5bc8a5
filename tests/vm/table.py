"""The README's table of kernels by flavour, from the last run: `python -m tests.vm table`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .expect import ALL_FLAVOURS


def table(kernels: Iterable[dict[str, Any]]) -> str:
    """Markdown from the entries of docs/kernels.json; ends in a newline."""
    rows = [["kernel", "Debian's package", *ALL_FLAVOURS, "tested"]]
    rows.append(["---"] * len(rows[0]))
    for kernel in kernels:
        cells = [_cell(kernel["flavours"].get(name)) for name in ALL_FLAVOURS]
        package = f"{kernel['version']} ({kernel['suite']})"
        rows.append([kernel["series"], package, *cells, kernel["date"]])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


BEGIN, END = "<!-- kernels: python -m tests.vm table -->", "<!-- kernels end -->"


def replaced(document: str, text: str) -> str:
    """The document with `text` between the two marks; raises ValueError where they are not."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} ... {END} in the document")
    return f"{before}{begin}\n{text}{end}{after}"


def _cell(flavour: dict[str, Any] | None) -> str:
    if flavour is None:
        return "not run"
    match flavour["outcome"], bool(flavour["failed"]):
        case "yes", _:
            return f"passed ({flavour['passed']} tests)"
        case "no", True:
            return f"fails {len(flavour['failed'])} of {len(flavour['failed']) + flavour['passed']}"
        case "no", False:
            return "not supported by this kernel"
    return "could not tell"
