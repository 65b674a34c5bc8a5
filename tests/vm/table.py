"""The README's table of kernels by variant, from the last run: `python -m tests.vm table`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .expect import ALL_VARIANTS

_HEADS = {"proc": "sampler"}  # the name that --backend has


def table(kernels: Iterable[dict[str, Any]]) -> str:
    """Markdown from the entries of docs/kernels.json, with a newline at its end."""
    heads = [_HEADS.get(name, name) for name in ALL_VARIANTS]
    rows = [["kernel", "Debian's package", *heads, "tested"]]
    rows.append(["---"] * len(rows[0]))
    for kernel in kernels:
        cells = [_cell(kernel["variants"].get(name)) for name in ALL_VARIANTS]
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


def _cell(variant: dict[str, Any] | None) -> str:
    if variant is None:
        return "not run"
    match variant["outcome"], bool(variant["failed"]):
        case "yes", _:
            return f"passed ({variant['passed']} tests)"
        case "no", True:
            return f"fails {len(variant['failed'])} of {len(variant['failed']) + variant['passed']}"
        case "no", False:
            return "not supported by this kernel"
    return "could not tell"
