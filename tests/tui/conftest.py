"""Terminals for tests of what is drawn and typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from support.namespace import Namespace
from support.terminal import Terminal


@pytest.fixture
def terminal(installed, netns: Namespace) -> Iterator[Callable[..., Terminal]]:
    """Run the installed probe, or a `command`, in terminals that end with the test."""
    started: list[Terminal] = []

    def start(
        *options: object,
        width: int = 100,
        height: int = 30,
        user: str = "unprivileged",
        command: Sequence[str] = (),
        **env: str,
    ) -> Terminal:
        called = command or [str(installed.command), *map(str, options)]
        words = [*netns.command(user), *called]
        started.append(Terminal(words, width, height, {"LC_ALL": "C.UTF-8"} | env))
        return started[-1]

    yield start
    for one in started:
        one.close()
