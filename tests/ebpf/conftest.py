"""Fixtures for tests of the kernel source on this machine's own kernel; they need root.

Set XCTL_TEST_REQUIRE=1 to fail, not skip, where the kernel source cannot work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.kernel_watch import Watch
from support.peer import Peer
from support.require import require

from xctl_probe.errors import SourceUnavailable


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attach", default="auto", help="the variant to test")


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Iterator[Callable[..., Watch]]:
    """Start kernel sources; they are closed with the test."""
    with ExitStack() as stack:

        def start(**options: object) -> Watch:
            attach = request.config.getoption("--attach")
            try:
                return stack.enter_context(Watch(attach=attach, **options))
            except SourceUnavailable as reason:
                require(False, str(reason))
                raise

        yield start


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Start peers that make known traffic; they end with the test."""
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(Peer(*words, **options))
