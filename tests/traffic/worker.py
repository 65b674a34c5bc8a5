"""One program that makes known traffic: `python3 worker.py blocking|evented|paths [NAME]`.

NAME, in hexadecimal, is what the process calls itself (any 15 bytes).  It then obeys the
commands on its stdin: see `blocking.py`, `evented.py` and `paths.py`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import blocking
import evented
import paths

LONGEST_LIFE_S = 600  # so that a test that was killed leaves nothing behind


def main() -> None:
    role, *name = sys.argv[1:]
    signal.alarm(LONGEST_LIFE_S)
    if name:
        Path("/proc/self/comm").write_bytes(bytes.fromhex(name[0]))
    {"blocking": blocking.run, "evented": evented.run, "paths": paths.run}[role]()


if __name__ == "__main__":
    main()
