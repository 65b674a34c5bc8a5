#!/usr/bin/env python3
"""The probe as the consumer starts it: `python3 PATH`, no arguments, any working directory.

Settings come from the environment (`XCTL_NETWORK_INTERVAL=0.5`, ...).  The package is taken
from this interpreter when it is installed there, else from the checkout that this file is
in; when this interpreter lacks what the probe needs, the checkout's .venv runs it.

Kept free of new syntax, so that an old python3 gets the one line below and no traceback.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # first: imports take time

import os
import sys
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
LEAST_PYTHON = (3, 11)
DEPENDENCIES = ("numpy", "orjson", "psutil", "typer")
USAGE_EXIT = 2


def lacking() -> list:
    """Return the names of what this interpreter lacks to run the probe."""
    if sys.version_info < LEAST_PYTHON:
        return ["Python 3.11 or later"]
    missing = [name for name in DEPENDENCIES if find_spec(name) is None]
    if find_spec("xctl_probe") is None and not (CHECKOUT / "xctl_probe").is_dir():
        missing.append("xctl_probe")
    return missing


def run() -> None:
    """Run the probe in this interpreter."""
    if find_spec("xctl_probe") is None:
        sys.path.append(str(CHECKOUT))  # last: nothing installed is hidden by the checkout
    from xctl_probe.cli import main  # noqa: PLC0415 (it may be missing until now)

    main()


def start() -> None:
    """Run the probe here or in the .venv of the checkout, or print what is missing."""
    missing = lacking()
    if not missing:
        run()
        return
    python = VENV / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(str(python), [str(python), *sys.argv])
    sys.stderr.write(
        f"xctl-probe-network: {sys.executable} lacks {', '.join(missing)}; "
        f"remedy: python3 -m venv {VENV} && {VENV}/bin/pip install {CHECKOUT}\n",
    )
    sys.exit(USAGE_EXIT)


if __name__ == "__main__":
    start()
