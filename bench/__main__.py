"""`make bench`: every benchmark, each in a network namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys

BENCHMARKS = ("bench.sampler",)


def main() -> int:
    """Run each benchmark in turn; the first that fails ends the run."""
    alone = ["unshare", "--net"] if shutil.which("unshare") else []
    for module in BENCHMARKS:
        print(f"== {module}", flush=True)
        done = subprocess.run([*alone, sys.executable, "-m", module], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
