"""For each kernel: boot it, run the guest's tests, judge, and tell."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from . import results
from .boot import run_in_guest
from .errors import GuestError
from .fetch import CACHE, REPOSITORY, Kernel
from .progress import Progress, Stopwatch
from .results import Result

GUEST_TESTS = REPOSITORY / "tests" / "kernels" / "guest"
# Far above what a guest takes (a minute or two): only a hang gets there.
LIMIT_S = float(os.environ.get("KERNELS_LIMIT_S", "900"))
# Under emulation everything takes about ten times as long as the tests' own limits assume.
TEST_LIMIT_S = 300


def in_ci() -> bool:
    """CI=true, as every CI service sets it."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def test_kernel(
    kernel: Kernel, flavours: tuple[str, ...], select: str, progress: Progress
) -> Result:
    """Run the guest's tests on one kernel; never raises for what the guest does."""
    shared = CACHE / "runs" / kernel.release
    clock = Stopwatch()
    trouble = ""

    def watch(seconds: float, doing: str) -> None:
        progress.update(f"{kernel.release}  {seconds:4.0f} s  {doing}")

    try:
        run_in_guest(kernel, _command(shared, flavours, select), shared, LIMIT_S, watch)
    except GuestError as error:
        trouble = str(error)
    judged = results.judge(flavours, kernel.series, shared)
    return Result(
        release=kernel.release,
        series=kernel.series,
        suite=kernel.suite,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        seconds=round(clock.seconds),
        features=results.features_of(shared),
        kernel=judged.pop(""),
        flavours=judged,
        trouble=trouble,
    )


def _command(shared: Path, flavours: tuple[str, ...], select: str) -> list[str]:
    words = [sys.executable, "-m", "pytest", str(GUEST_TESTS), "--rootdir", str(REPOSITORY)]
    words += ["-v", "--tb=short", "-p", "no:cacheprovider", f"--timeout={TEST_LIMIT_S}"]
    words += ["--flavours", ",".join(flavours), "--results", str(shared)]
    return [*words, "-k", select] if select else words


def tell(result: Result, progress: Progress) -> None:
    """A line for each flavour, and each failed test by name."""
    progress.say(f"{result.release} ({result.suite}): {result.seconds} s {result.trouble}")
    ours = {"kernel": result.kernel} if result.kernel else {}
    for name, one in {**ours, **result.flavours}.items():
        verdict = "" if one.right else "  <-- NOT AS EXPECTED"
        counts = f"{one.passed} passed, {one.skipped} skipped"
        progress.say(f"  {name:10} {one.outcome:8} {counts} {one.note}{verdict}")
        for test in one.failed:
            progress.say(f"    failed: {test}")
    log = CACHE / "runs" / result.release / "output.log"
    if not result.right:
        progress.say(f"  see {log}")
