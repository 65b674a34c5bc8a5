"""Run the README's commands in clean root file systems, as debootstrap makes them.

What kernels and privileges decide is tested elsewhere: here `make run` has to stream, and
`make test` has to come as far as its lint, the check of the objects and the unit tests.
"""

from __future__ import annotations

import json
import sys

from .each import each_suite
from .root import CHECKOUT, Root

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


if __name__ == "__main__":
    sys.exit(each_suite("test-fresh", __doc__, SUITES, _try))
