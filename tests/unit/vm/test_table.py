"""The README's table of kernels is what the last runs left in docs/kernels.json."""

from __future__ import annotations

from pathlib import Path

import pytest
from vm.expect import ALL_VARIANTS
from vm.results import load
from vm.table import replaced, table

from xctl_probe.config.choices import Backend

README = Path(__file__).parents[3] / "README.md"


def test_the_readme_has_the_table_of_the_last_runs() -> None:
    """`python -m tests.vm table --into README.md` renews it."""
    text = README.read_text()
    assert replaced(text, table(load())) == text


def test_a_kernel_that_was_run_is_in_it_with_each_variant() -> None:
    kernels = load()
    assert kernels, "docs/kernels.json is empty: make test-kernels"
    rows = table(kernels).splitlines()
    assert [row.count("|") for row in rows] == [len(ALL_VARIANTS) + 4] * (len(kernels) + 2)


def test_the_sampler_has_the_name_that_the_option_has() -> None:
    heads = table([]).splitlines()[0].split(" | ")
    assert str(Backend.SAMPLER) in heads
    assert "proc" not in heads


def test_a_document_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- kernels"):
        replaced("# a document", "a table")
