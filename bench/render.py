"""The pages and pictures that docs/bench/results.json makes."""

from __future__ import annotations

from pathlib import Path

from bench import table
from bench.place import CHECKOUT, DOCS
from bench.results import GUEST, NATIVE, Results

PERFORMANCE = CHECKOUT / "docs" / "performance.md"


def pages(results: Results) -> dict[Path, str]:
    """The documents as they should be: all of one, and what stands between marks in another."""
    performance = PERFORMANCE.read_text()
    performance = table.replaced(performance, "goals", table.goal_table(results))
    for part in (NATIVE, GUEST):
        if part in results:
            text = table.throughput_table(results[part])
            performance = table.replaced(performance, f"{part} throughput", text)
            text = table.cost_table(results[part])
            performance = table.replaced(performance, f"{part} cost", text)
    return {PERFORMANCE: performance, DOCS / "README.md": table.page(results)}


def all_of(results: Results) -> None:
    """Write them."""
    from bench import plots  # noqa: PLC0415 - the pages alone need no matplotlib

    plots.all_of(results, DOCS)
    for path, text in pages(results).items():
        path.write_text(text)
