"""The first instructions of the command, before anything that takes time to import.

Python turns SIGINT into an exception wherever it is, and a callback from C swallows that.  Until
the stream waits for signals itself, SIGINT ends the process as SIGTERM does: at once, with no
traceback.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command."""
    obey_sigint()
    from xctl_probe.cli import main as run  # noqa: PLC0415 - it takes 0.1 s

    run()


def obey_sigint() -> None:
    """SIGINT ends the process from now on, where it is not ignored (a shell's background job)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
