"""For each kernel: boot it, run the guest's tests, decide, and report."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import foreign, results
from .boot import CPUS, GuestRun, Watch, on_these_files, run_in_guest
from .errors import GuestError
from .fetch import CACHE, Kernel
from .progress import Progress, Stopwatch
from .results import Result
from .snapshot import Snapshot

# Far above what a guest takes (five minutes a variant): only a hang gets there.
LIMIT_S = float(os.environ.get("KERNELS_LIMIT_S", "2700"))
# Under emulation everything takes about ten times as long as the tests' own limits assume.
TEST_LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which tests, as pytest's -k has it; `whole`: each variant must have passed some of them."""

    select: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where guests have their files from: this host, or the archive of another user space."""

    snapshot: Snapshot
    user_space: Path | None = None

    @property
    def python(self) -> str:
        """The interpreter in the guest."""
        return "/usr/bin/python3" if self.user_space else sys.executable

    def run(self, kernel: Kernel, command: Sequence[str], shared: Path, watch: Watch) -> GuestRun:
        """Boot the kernel, and run a command as root.  Raises GuestError."""
        if self.user_space is None:
            argv = on_these_files(kernel, command, shared)
            return run_in_guest(kernel, argv, shared, LIMIT_S, watch)
        initrd = shared.with_suffix(".cpio")
        initrd.parent.mkdir(parents=True, exist_ok=True)
        foreign.initramfs(self.user_space, kernel, self.snapshot, shlex.join(command), initrd)
        try:
            argv = foreign.qemu(kernel, initrd, shared, CPUS)
            return run_in_guest(kernel, argv, shared, LIMIT_S, watch)
        finally:
            initrd.unlink()


def in_ci() -> bool:
    """CI=true, as every CI service sets it, or the tests' own word for "no skips"."""
    words = (os.environ.get(name, "").lower() for name in ("CI", "XCTL_TEST_REQUIRE"))
    return any(word in {"1", "true"} for word in words)


def test_kernel(
    kernel: Kernel,
    place: Place,
    variants: tuple[str, ...],
    chosen: Chosen,
    progress: Progress,
) -> Result:
    """Run the guest's tests on one kernel; never raises for what the guest does."""
    shared = CACHE / "runs" / kernel.release
    clock = Stopwatch()
    trouble = ""

    def watch(seconds: float, activity: str) -> None:
        progress.update(f"{kernel.release}  {seconds:4.0f} s  {activity}")

    try:
        command = _command(place, shared, variants, chosen.select)
        place.run(kernel, command, shared, watch)
    except GuestError as error:
        trouble = str(error)
    outcomes = results.decide(variants, kernel, shared)
    if not chosen.whole:  # what was not asked has no answer
        outcomes = {name: one for name, one in outcomes.items() if one.passed or one.failed}
        if not outcomes and not trouble:
            trouble = f"no test that -k {chosen.select} names was run"
    return Result(
        release=kernel.release,
        series=kernel.series,
        suite=kernel.suite,
        version=kernel.version,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        seconds=round(clock.seconds),
        features=results.features_of(shared),
        kernel=outcomes.pop("", None),
        variants=outcomes,
        trouble=trouble,
    )


def _command(place: Place, shared: Path, variants: tuple[str, ...], select: str) -> list[str]:
    snapshot = place.snapshot
    words = ["env", f"PYTHONPATH={snapshot.packages}", place.python, "-m", "pytest"]
    words += [str(snapshot.guest_tests), "--rootdir", str(snapshot.root)]
    words += ["-v", "--tb=short", "-p", "no:cacheprovider", f"--timeout={TEST_LIMIT_S}"]
    words += ["--variants", ",".join(variants), "--results", str(shared)]
    return [*words, "-k", select] if select else words


def report(result: Result, progress: Progress) -> None:
    """A line for each variant, and for each failed test."""
    progress.report(f"{result.release} ({result.suite}): {result.seconds} s {result.trouble}")
    ours = {"kernel": result.kernel} if result.kernel else {}
    for name, one in {**ours, **result.variants}.items():
        verdict = "" if one.right else "  <-- NOT AS EXPECTED"
        counts = f"{one.passed} passed, {one.skipped} skipped"
        progress.report(f"  {name:10} {one.outcome:8} {counts} {one.note}{verdict}")
        for test, why in one.failed.items():
            progress.report(f"    failed: {test}: {why}")
    log = CACHE / "runs" / result.release / "output.log"
    if not result.right:
        progress.report(f"  see {log}")
