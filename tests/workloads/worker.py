"""One program that makes known traffic: `python3 worker.py ROLE [NAME]`.

NAME, in hexadecimal, is what the process calls itself (any 15 bytes).  It then obeys the
commands on its stdin: see the module of its role.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import blocking
import evented
import links
import paths
import sleepers
import waits

LONGEST_LIFE_S = 600  # so that a test that was killed leaves nothing behind


def main() -> None:
    role, *name = sys.argv[1:]
    signal.alarm(LONGEST_LIFE_S)
    if name:
        Path("/proc/self/comm").write_bytes(bytes.fromhex(name[0]))
    roles = {
        "blocking": blocking.run,
        "evented": evented.run,
        "headless": waits.run_headless,
        "links": links.run,
        "paths": paths.run,
        "sleepers": sleepers.run,
        "waits": waits.run,
    }
    roles[role]()


if __name__ == "__main__":
    main()
