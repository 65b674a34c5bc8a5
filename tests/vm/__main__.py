"""`python -m tests.vm [run|fetch|boot|table]`.

`KERNELS=6.1,6.12` narrows it to kernels, `KERNELS=5.10,6.1/fentry+kprobe` one of them to variants.
`--arch arm64` boots Debian's kernels of that architecture, with a user space of its own.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from . import fetch, foreign, programs, results, run, snapshot, suites
from .apt import architecture
from .boot import end_all
from .errors import KernelsError, UnavailableError
from .expect import CORE, VARIANTS
from .fetch import CACHE, REPOSITORY, Kernel
from .progress import Progress
from .table import replaced, table

README = REPOSITORY / "README.md"
# A guest has two processors and seldom keeps more than one busy.
GUESTS_AT_ONCE = os.cpu_count() or 1
Plan = tuple[Kernel, tuple[str, ...]]  # and the variants to test in it


def main() -> int:
    """Exit code: 0 all as expected; 1 something is not, or could not be had in CI."""
    options = _options()
    progress = Progress()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if options.action == "table":
            return _table(options.into)
        programs.ensure(progress.report, options.arch)
        lock = _alone(options.action, progress)  # noqa: F841 - held until the process exits
        kernels, missing = _kernels(options, progress)
        return {"fetch": _only_fetch, "boot": _boot, "run": _run}[options.action](
            options, kernels, progress
        ) or int(bool(missing))
    except KernelsError as error:
        progress.report(f"ERROR: {error}")
        return 1


def _terminate(number: int, _: object) -> None:
    """As an exception, so that guests are ended with the program that started them; once."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _alone(action: str, progress: Progress) -> IO[bytes]:
    """Wait for another one that does the same: they would overwrite each other's results."""
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (CACHE / f"{action}.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.report(f"waiting for another {action} that uses {CACHE}")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("action", nargs="?", default="run", help="run, fetch, boot or table")
    parser.add_argument("--refresh", action="store_true", help="ask the suites again")
    parser.add_argument("--headers", action="store_true", help="also fetch linux-headers (bcc)")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="default: %(default)s")
    parser.add_argument("--arch", default=architecture(), help="dpkg's name; default: %(default)s")
    parser.add_argument("-k", dest="select", default="", help="pytest's -k, in the guest")
    parser.add_argument("--core", action="store_true", help="what every way must pass: minutes")
    parser.add_argument("--no-store", action="store_true", help="leave docs/kernels.json alone")
    parser.add_argument("--into", type=Path, help="table: the document whose table to renew")
    parser.add_argument("command", nargs="*", help="boot: -- and what to run in the guest")
    options = parser.parse_args()
    if options.action not in {"run", "fetch", "boot", "table"}:
        parser.error(f"unknown action {options.action!r}")
    return options


def _kernels(
    options: argparse.Namespace, progress: Progress
) -> tuple[list[Plan], list[KernelsError]]:
    """Those that could be had.  A missing one is reported loudly, and in CI it is a failure."""
    words = [word for word in os.environ.get("KERNELS", "").replace(",", " ").split() if word]
    held = fetch.held_now(progress.report, options.arch, refresh=options.refresh)
    kernels, missing = dict[str, Plan](), list[KernelsError]()
    for word in words or suites.DEFAULT:
        name, _, only = word.partition("/")
        variants = tuple(only.split("+") if only else options.variants.split(","))
        try:
            offer = suites.choose(name, held)
            kernel = fetch.fetch(offer, progress.report)
            kernels[offer.release] = kernel, variants
            if options.headers or "bcc" in variants:
                fetch.fetch_headers(offer, kernel, progress.report)
        except UnavailableError as error:
            progress.report(f"WARNING: NOT TESTED: {name}: {error}")
            # a kernel asked for by name must not pass for tested
            if run.in_ci() or words:
                missing.append(error)
    if not kernels:
        raise UnavailableError("no kernel could be had")
    return list(kernels.values()), missing


def _table(document: Path | None) -> int:
    text = table(results.load())
    if document is None:
        sys.stdout.write(text)
    else:
        document.write_text(replaced(document.read_text(), text))
    return 0


def _only_fetch(options: argparse.Namespace, kernels: list[Plan], progress: Progress) -> int:
    for kernel, _ in kernels:
        progress.report(f"{kernel.series:5} {kernel.suite:17} {kernel.image}")
    return 0


def _boot(options: argparse.Namespace, kernels: list[Plan], progress: Progress) -> int:
    """Run a command in each, for a person: its output, and the worst exit code."""
    command = options.command or ["uname", "-a"]
    worst = 0
    place = _place(options, progress)
    for kernel, _ in kernels:
        shared = CACHE / "runs" / f"{kernel.release}-boot"
        done = place.run(
            kernel,
            command,
            shared,
            lambda seconds, activity: progress.update(f"{seconds:4.0f} s  {activity}"),
        )
        progress.report(f"{kernel.release}: {done.seconds:.0f} s, exit code {done.exit_code}")
        sys.stdout.write((shared / "output.log").read_text(errors="replace"))
        worst = max(worst, done.exit_code)
    return worst


def _place(options: argparse.Namespace, progress: Progress) -> run.Place:
    native = options.arch == architecture()
    user_space = None if native else foreign.base(options.arch, progress.report)
    return run.Place(snapshot.take(), user_space)


def _run(options: argparse.Namespace, kernels: list[Plan], progress: Progress) -> int:
    select = CORE if options.core else options.select
    chosen = run.Chosen(select, whole=options.core or not select)
    place = _place(options, progress)
    found = []
    with ThreadPoolExecutor(GUESTS_AT_ONCE) as pool:
        try:
            for result in pool.map(
                lambda one: run.test_kernel(one[0], place, one[1], chosen, progress), kernels
            ):
                found.append(result)
                run.report(result, progress)
                # any other part of the tests proves nothing, and the table is of one architecture
                if chosen.whole and not options.no_store and place.user_space is None:
                    results.store(found)
                    _table(README)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    return int(not all(result.right for result in found))


if __name__ == "__main__":
    sys.exit(main())
