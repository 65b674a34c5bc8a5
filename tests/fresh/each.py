"""A check in the clean root file system of each suite, and its outcome."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection

from .root import Unavailable


def each_suite(
    prog: str, description: str | None, known: Collection[str], check: Callable[[str], str]
) -> int:
    """Check the suites of the command line, all of them by default; print an outcome for each.

    `check` returns what was shown to work, and raises Unavailable where there is no archive,
    AssertionError where something is wrong.  The exit code is 1 where that was so, or where
    bookworm could not be had.
    """
    parser = argparse.ArgumentParser(prog=f"make {prog}", description=description)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(known)}")
    suites = parser.parse_args().suites or list(known)
    if unknown := set(suites) - set(known):
        parser.error(f"unknown: {', '.join(unknown)}; use {', '.join(known)}")
    output, failed = [], False
    for suite in suites:
        print(f"==== {suite}", flush=True)
        try:
            output.append(f"{suite}: {check(suite)}")
        except Unavailable as reason:
            output.append(f"{suite}: NOT TESTED: {reason}")
            failed |= suite == "bookworm"
        except AssertionError as error:
            output.append(f"{suite}: FAILED: {error}")
            failed = True
    print("\n".join([f"==== {prog}", *output]))
    return int(failed)
