"""Run the README's commands in clean root file systems, as debootstrap makes them.

What kernels and privileges decide is tested elsewhere: here `make run` has to stream, and
`make test` has to come as far as its lint, the check of the objects and the unit tests.
"""

from __future__ import annotations

import argparse
import json
import sys

from .root import CHECKOUT, Root, Unavailable

# Of each distribution the suite, and the components that a user's sources have.
DEBIAN = {"bookworm": "main", "trixie": "main"}
UBUNTU = {"noble": "main,universe"}
SUITES = DEBIAN | UBUNTU
# Its archive has no clang 14, which compiles the committed objects: no `make test` there.
WITHOUT_CLANG_14 = {"trixie"}
STREAM = f"cd {CHECKOUT} && make --no-print-directory run ARGS='--duration 2 --format ndjson'"
TEST = f"cd {CHECKOUT} && make --no-print-directory lint bpf-check pytest PYTEST=tests/unit"


def _try(suite: str) -> str:
    """What was shown to work.

    Raises Unavailable where there is no archive, AssertionError where the README is wrong.
    """
    root = Root(suite, SUITES[suite], of_debian=suite in DEBIAN)
    try:
        root.run("apt-get update -qq && apt-get install -y -qq --no-install-recommends make")
        output = root.run(STREAM, capture=True)
        # What the set-up states comes before.
        records = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert any(r["event_type"] == "transport.bw" for r in records), output
        if suite not in WITHOUT_CLANG_14:
            root.run(TEST)
    finally:
        root.remove()
    if suite in WITHOUT_CLANG_14:
        return "make run works; make test NOT TESTED: no clang 14 in the archive"
    return "both commands work"


def main() -> int:
    """The exit code is 1 where a command failed, or bookworm could not be had."""
    parser = argparse.ArgumentParser(prog="make test-fresh", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    suites = parser.parse_args().suites or list(SUITES)
    if unknown := set(suites) - set(SUITES):
        parser.error(f"unknown: {', '.join(unknown)}; use {', '.join(SUITES)}")
    output, failed = [], False
    for suite in suites:
        print(f"==== {suite}", flush=True)
        try:
            output.append(f"{suite}: {_try(suite)}")
        except Unavailable as reason:
            output.append(f"{suite}: NOT TESTED: {reason}")
            failed |= suite == "bookworm"
        except AssertionError as error:
            output.append(f"{suite}: FAILED: {error}")
            failed = True
    print("\n".join(["==== fresh machines", *output]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
