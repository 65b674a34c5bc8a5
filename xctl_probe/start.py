"""Entry point of the command, before imports that take time.

Python turns SIGINT into an exception at any place, and a callback from C swallows it.  Until the
stream waits for signals, SIGINT stops the process as SIGTERM does: at once, without a traceback.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command."""
    obey_sigint()
    from xctl_probe.cli import main as run  # noqa: PLC0415 - it takes 0.1 s

    run()


def obey_sigint() -> None:
    """Let SIGINT stop the process, unless it is ignored (a background job of a shell)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
