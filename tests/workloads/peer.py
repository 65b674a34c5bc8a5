"""One program that plays a peer step by step: `python3 peer.py MODULE FUNCTION [ARGUMENT ...]`.

FUNCTION is a generator of the package `peers`.  Each value that it yields goes to stdout as one
line of JSON; a line on stdin lets it go on.  Standard library only, and few modules of it: a start
under emulation costs seconds.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module


def main() -> None:
    module, function, *words = sys.argv[1:]
    arguments = [int(word) if word.isdigit() else word for word in words]
    for value in getattr(import_module(f"peers.{module}"), function)(*arguments):
        os.write(1, json.dumps(value).encode() + b"\n")
        if not sys.stdin.readline():
            os._exit(0)


if __name__ == "__main__":
    main()
