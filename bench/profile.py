"""What `profile` adds to a system call: of the process that is profiled, and of another one.

`sudo .venv/bin/python -m bench.profile` prints medians of interleaved rounds, in ns a call.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

from xctl_probe.commands.profile.categories import flags
from xctl_probe.commands.profile.numbers import numbers
from xctl_probe.ebpf.profile import KernelProfile

ROUNDS = 15
CALLS = 200_000

# Compiled here: in Python, the interpreter takes far more than the call.
PROGRAM = """
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	char line[16];

	while (fgets(line, sizeof(line), stdin)) {
		struct timespec begin, end;

		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
		for (int i = 0; i < CALLS; i++)
			syscall(SYS_getppid);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
		printf("%lld\\n", (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec);
		fflush(stdout);
	}
}
"""


class Caller:
    """A process that makes system calls on request."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call_ns(self) -> float:
        """CPU time of one call, in ns."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / CALLS

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compiled(folder: str) -> str:
    path = f"{folder}/caller"
    command = ["cc", "-O2", f"-DCALLS={CALLS}", "-x", "c", "-", "-o", path]
    subprocess.run(command, input=PROGRAM, text=True, check=True)
    return path


def measure(path: str) -> dict[str, list[float]]:
    """Rounds of each kind in turn, so that what the machine does else falls on all of them."""
    one, other = Caller(path), Caller(path)
    known = flags(numbers(platform.machine()))
    found: dict[str, list[float]] = {
        name: [] for name in ("alone", "other", "other_with_children", "profiled")
    }
    for _ in range(ROUNDS):
        found["alone"].append(other.call_ns())
        with KernelProfile(one.process.pid, known):
            found["other"].append(other.call_ns())
            found["profiled"].append(one.call_ns())
        with KernelProfile(one.process.pid, known, children=True):
            found["other_with_children"].append(other.call_ns())
    one.close()
    other.close()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(compiled(folder))
    medians = {name: round(statistics.median(values), 1) for name, values in found.items()}
    json.dump({"kernel": os.uname().release, "rounds": ROUNDS, "ns_a_call": medians}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
