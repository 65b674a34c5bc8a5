"""Fixtures inside the guest: its features, the variants to run, results as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.backends import IN_GUEST, Backend
from support.install import CHECKOUT, WORKLOADS, Installed
from support.kernel_watch import Watch
from support.namespace import Namespace
from support.peer import Peer
from support.probe import Probe

from vm.expect import VARIANTS
from vm.guest import variants
from vm.guest.features import NO, detect, supports

INTERVAL_S = 0.5
_ALWAYS = ("--interval", INTERVAL_S, "--loopback", "--min-bw", 0, "--format", "ndjson")
# They need a kernel of their own, and lose packets on purpose: never on the host.
collect_ignore_glob = [] if IN_GUEST else ["test_*.py"]

RESULTS = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--variants", default=",".join(VARIANTS), help="which to test")
    parser.addoption("--results", type=Path, help="directory for features.json, results.jsonl")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `variant` runs once for each; a variant's tests run together."""
    if "variant" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--variants").split(",")
        metafunc.parametrize("variant", chosen, scope="session")


@pytest.fixture(scope="session", autouse=True)
def features(request: pytest.FixtureRequest) -> dict[str, str]:
    """What this kernel can do; written down at once, in case a test takes the guest along."""
    found = detect()
    if folder := request.config.getoption("--results"):
        (folder / "features.json").write_text(json.dumps(found))
    return found


@pytest.fixture(scope="session")
def installed() -> Installed:
    """The checkout's own environment: a guest has no network to build another one."""
    python = Path(sys.executable)
    return Installed(
        command=python.with_name("xctl-probe-network"),
        python=python,
        traffic=WORKLOADS,
        checkout=CHECKOUT,
        wheel=Path("/nonexistent"),
    )


@pytest.fixture
def backend(variant: str, features: dict[str, str]) -> Backend:
    """The variant under test; skips where the kernel does not carry it."""
    if supports(variant, features) == NO:
        pytest.skip(f"this kernel does not carry {variant}")
    return variants.variant(variant)


@pytest.fixture
def only_rare(backend: Backend) -> None:
    """For what leaves no trace in a socket that is still there to be sampled."""
    if not backend.sees("connect_errors"):
        pytest.skip("the sampler sees live sockets only, and says so")


@pytest.fixture
def probe(backend: Backend, start_probe: Callable[..., Probe]) -> Callable[..., Probe]:
    """Start the probe in this variant, and wait until it watches.

    --min-bw 0: so few bytes would otherwise not be worth a record.
    """

    def start(*options: object) -> Probe:
        return _started(start_probe, backend, *options)

    return start


def _started(start_probe: Callable[..., Probe], backend: Backend, *options: object) -> Probe:
    running = start_probe(*backend.options, *_ALWAYS, *options, user=backend.user)
    running.wait_for_stderr("source", backend.start_s)
    running.wait_ready()
    return running


@pytest.fixture(scope="session")
def shared_netns() -> Iterator[Namespace]:
    """The namespace of the tests that share a probe."""
    namespace = Namespace()
    yield namespace
    namespace.close()


@pytest.fixture
def netns(request: pytest.FixtureRequest, make_netns: Callable[..., Namespace]) -> Namespace:
    """The namespace of the shared probe for the tests that take it, else one of the test's own."""
    if "running" in request.fixturenames:
        namespace: Namespace = request.getfixturevalue("shared_netns")
        return namespace
    return make_netns()


@pytest.fixture(scope="session")
def shared_probe(
    variant: str, features: dict[str, str], installed: Installed, shared_netns: Namespace
) -> Iterator[Probe]:
    """One probe for all tests of a variant that only read records: a start takes half a minute."""
    started: list[Probe] = []

    def start(*options: object, **more: object) -> Probe:
        started.append(Probe(installed, shared_netns, *options, **more))
        return started[0]

    if supports(variant, features) == NO:
        pytest.skip(f"this kernel does not carry {variant}")
    try:
        yield _started(start, variants.variant(variant))
        started[0].stop()
    finally:
        for one in started:
            one.close()


@pytest.fixture
def running(backend: Backend, shared_probe: Probe) -> Iterator[Probe]:
    """The shared probe, between two intervals; its records are those of all tests before."""
    yield shared_probe
    print(shared_probe.story("stderr and the last records of the shared probe:"))


@pytest.fixture
def every_backend(backend: Backend) -> Backend:
    """What blind spot tests of tests/integration ask for: here, each variant."""
    return backend


@pytest.fixture
def every_probe(probe: Callable[..., Probe]) -> Callable[..., Probe]:
    return probe


@pytest.fixture
def watch(variant: str, backend: Backend) -> Iterator[Callable[..., Watch]]:
    """What tests of tests/ebpf start: the kernel source itself, without the probe."""
    if variant == "proc":
        pytest.skip("not a kernel source")
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Watch(attach=variant, **options))


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(Peer(*words, **options))


@pytest.fixture
def lose(netns: Namespace) -> Iterator[Callable[[int], None]]:
    """Let the namespace's loopback lose this share of its packets, in percent; 0 stops it.

    At one segment a packet, so that the share holds for segments as well.
    """

    def run(command: str) -> None:
        netns.run(*command.split())

    lossy = False

    def set_to(percent: int) -> None:
        nonlocal lossy
        lossy = percent > 0
        if percent:
            run("ip link set lo mtu 1500 gso_max_segs 1")
            run(f"tc qdisc replace dev lo root netem loss {percent}%")
        else:
            run("tc qdisc del dev lo root")

    yield set_to
    if lossy:
        set_to(0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One JSON line for each test, flushed: a guest that dies leaves what it had proven."""
    if report.when == "call" or report.outcome != "passed":
        _append(
            {
                "test": report.location[2],
                "when": report.when,
                "outcome": report.outcome,
                "seconds": round(report.duration, 2),
                "why": _why(report),
            }
        )


def _why(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    if report.outcome == "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        return str(crash.message if crash else report.longrepr)[:600]
    return ""


_sink: list[Path] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    if folder := session.config.getoption("--results"):
        _sink.append(folder / "results.jsonl")


def _append(entry: dict[str, object]) -> None:
    for path in _sink:
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
