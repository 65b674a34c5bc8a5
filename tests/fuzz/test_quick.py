"""The quick share of the fuzzing; `make fuzz` goes on for as long as one likes."""

from __future__ import annotations

import time

import pytest

from fuzz.mutate import mutations
from fuzz.seeds import seeds
from fuzz.targets import TARGETS

MUTATIONS = 400
SLOWEST_S = 2.0  # of one input; each takes about a millisecond


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_clean_errors(name, tmp_path):
    """Truncated, hostile and huge: what a target may raise it catches itself."""
    for data in [*seeds()[name], *mutations(seeds()[name], MUTATIONS, name)]:
        kept = tmp_path / "input"
        kept.write_bytes(data)  # to try again with, where this fails
        began_s = time.process_time()
        TARGETS[name](data)
        assert time.process_time() - began_s < SLOWEST_S
