"""Fixtures inside the guest: its features, the flavours to run, results as they come."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from harness.install import CHECKOUT, Installed

from kernels.expect import FLAVOURS
from kernels.guest.features import detect

RESULTS = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--flavours", default=",".join(FLAVOURS), help="which to test")
    parser.addoption("--results", type=Path, help="directory for features.json, results.jsonl")


def pytest_configure(config: pytest.Config) -> None:
    if not os.environ.get("XCTL_IN_GUEST"):
        raise pytest.UsageError("these tests change the machine: run `make test-kernels`")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `flavour` runs once for each; a flavour's tests run together."""
    if "flavour" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--flavours").split(",")
        metafunc.parametrize("flavour", chosen, scope="session")


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
        traffic=CHECKOUT / "tests" / "traffic",
        checkout=CHECKOUT,
        wheel=Path("/nonexistent"),
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One JSON line for each test, flushed: a guest that dies leaves what it had proven."""
    if report.when == "call" or report.outcome != "passed":
        _append(
            {
                "test": report.nodeid.rpartition("::")[2],
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
