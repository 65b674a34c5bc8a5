"""Fixtures for tests on real traffic: a namespace, workers in it, the installed probe.

Set XCTL_TEST_REQUIRE=1 (CI does) to fail, not skip, where a privilege or a tool is missing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.backends import PROC_NET, SELECTED, Backend
from support.install import Installed, install
from support.namespace import Namespace
from support.probe import Probe
from support.require import require
from support.worker import Worker

INTERVAL_S = 0.2

# Where ip and nft are: not on the path of every user who may run them.
os.environ["PATH"] += ":/usr/sbin:/sbin"

# A user's shell has neither, and what Python has buffered at the exit is a case of its own.
for variable in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(variable, None)

# A shell's background job ignores SIGINT, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_NEEDS_ROOT = ("ebpf",)
_SLOW = ("apps", "attacks", "container", "fuzz", "soak")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need: by their folder, and by the source that they run against."""
    for item in items:
        inside = item.path.relative_to(Path(__file__).parent).parts
        params = item.callspec.params.values() if hasattr(item, "callspec") else ()
        as_root = any(isinstance(one, Backend) and one.user == "root" for one in params)
        if inside[0] in _NEEDS_ROOT or as_root:
            item.add_marker("needs_root")
        if inside[0] in _SLOW:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    """The wheel of this checkout in an environment of its own, for any user to run."""
    folder = Path(tempfile.mkdtemp(prefix="xctl-probe-", dir="/tmp"))
    folder.chmod(0o755)
    yield install(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_netns() -> Iterator[Callable[..., Namespace]]:
    """Make network namespaces that end with the test."""
    made: list[Namespace] = []

    def make(beside: Namespace | None = None) -> Namespace:
        made.append(Namespace(beside))
        return made[-1]

    yield make
    for namespace in reversed(made):
        namespace.close()


@pytest.fixture
def netns(make_netns: Callable[..., Namespace]) -> Namespace:
    return make_netns()


@pytest.fixture
def distant(make_netns: Callable[..., Namespace], netns: Namespace) -> Namespace:
    """Another host, 10.23.29.2: of its processes and sockets nothing can be read from here."""
    other = make_netns(beside=netns)
    netns.join(other)
    return other


@pytest.fixture
def worker(installed: Installed, netns: Namespace) -> Iterator[Callable[..., Worker]]:
    """Start workers in the namespace (or another one); they end with the test."""
    started: list[Worker] = []

    def start(role: str = "blocking", namespace: Namespace = netns, **options: object) -> Worker:
        started.append(Worker(installed.traffic, namespace, role, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def trials(installed: Installed) -> dict[str, subprocess.CompletedProcess[str]]:
    """A short run of the probe with each backend, by its name: whether it works here, and how."""
    namespace = Namespace()
    found = {}
    for one in (*SELECTED, PROC_NET):
        words = [*namespace.command(one.user), str(installed.command), *one.options]
        found[one.name] = subprocess.run(
            [*words, "--duration", "0.1"], capture_output=True, text=True, check=False, timeout=60
        )
    namespace.close()
    return found


Trials = dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(params=SELECTED, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, trials: Trials) -> Backend:
    """Each source that the tests run against; one that cannot work here skips, or fails."""
    return _working(request.param, trials)


@pytest.fixture(params=(*SELECTED, PROC_NET), ids=lambda backend: backend.name)
def every_backend(request: pytest.FixtureRequest, trials: Trials) -> Backend:
    """These, and the one that sees least: for what is about the blind spots."""
    return _working(request.param, trials)


def _working(one: Backend, trials: Trials) -> Backend:
    tried = trials[one.name]
    require(not tried.returncode, f"{one.name} cannot be used: {tried.stderr.strip()}")
    return one.as_started(tried.stderr)


@pytest.fixture
def start_probe(installed: Installed, netns: Namespace) -> Iterator[Callable[..., Probe]]:
    """Start probes in the namespace, with exactly these options; they end with the test."""
    started: list[Probe] = []

    def start(*options: object, namespace: Namespace = netns, **more: object) -> Probe:
        started.append(Probe(installed, namespace, *options, **more))
        return started[-1]

    yield start
    for probe in started:
        probe.close()
        print(probe.story("what the probe said:"))  # pytest shows it when the test failed


@pytest.fixture
def probe(backend: Backend, start_probe: Callable[..., Probe]) -> Callable[..., Probe]:
    """Start a probe of the backend on loopback, and wait until it watches."""
    return _starter(backend, start_probe)


@pytest.fixture
def every_probe(every_backend: Backend, start_probe: Callable[..., Probe]) -> Callable[..., Probe]:
    """The same of `every_backend`."""
    return _starter(every_backend, start_probe)


def _starter(backend: Backend, start_probe: Callable[..., Probe]) -> Callable[..., Probe]:
    def start(*options: object, interval: float = INTERVAL_S, **more: object) -> Probe:
        words = (*backend.options, "--loopback", "--interval", interval, *options)
        running = start_probe(*words, **({"user": backend.user} | more))
        running.wait_ready()
        return running

    return start
