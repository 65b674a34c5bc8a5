"""Fixtures for tests on real programs: all at the same time, on a host of the tests' own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from place import Place
from servers.dns import Dns
from servers.nginx import Nginx
from servers.openssh import Openssh
from servers.postgres import Postgres
from servers.redis import Redis
from servers.waits import Waits
from servers.websocket import Websocket
from support.backends import SELECTED, Backend
from support.install import Installed
from support.probe import Probe
from support.require import require

ALL = (Nginx, Redis, Postgres, Websocket, Openssh, Dns, Waits)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hour", action="store_true", help="an hour's worth of intervals of healthy programs"
    )


class Everything:
    """All programs; by their names in lower case, as in `everything.redis`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        for program in ALL:
            setattr(self, program.__name__.lower(), program(place))


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    """Started once for all tests of a file: each leaves them as it found them."""
    place = Place()
    try:
        yield Everything(place)
    finally:
        place.close()


@pytest.fixture
def watched(
    installed: Installed,
    everything: Everything,
    trials: dict[str, subprocess.CompletedProcess[str]],
) -> Iterator[Callable[..., Probe]]:
    """Start probes of a backend beside the programs, and wait until they watch."""
    started: list[Probe] = []

    def start(backend: Backend, *options: object, **more: object) -> Probe:
        tried = trials[backend.name]
        require(not tried.returncode, f"{backend.name} cannot be used: {tried.stderr.strip()}")
        words = (*backend.options, "--loopback", *options)
        running = Probe(installed, everything.place.namespace, *words, user=backend.user, **more)
        started.append(running)
        running.wait_ready()
        return running

    yield start
    for probe in started:
        probe.close()
        print(probe.story("what the probe said:"))


@pytest.fixture(params=SELECTED, ids=lambda backend: backend.name)
def one(request: pytest.FixtureRequest) -> Backend:
    """Each source by itself."""
    return request.param
