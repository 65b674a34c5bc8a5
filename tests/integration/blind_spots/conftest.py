"""Each declared blind spot is one, and nothing else is: traffic that shows it, on every source.

Whatever a source sees here it must not declare, and the reverse; the blind spots of bytes
of one connection are in tests/integration/test_paths.py.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def backend(every_backend):
    return every_backend


@pytest.fixture
def probe(every_probe):
    return every_probe


@pytest.fixture
def agrees(backend):
    """Whether something showed is what the table declares of this source."""

    def check(key, shown):
        assert bool(shown) == backend.sees(key), f"{key}: declared is the opposite of what is"

    return check
