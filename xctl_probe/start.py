"""Entry point of the command, before imports that take time.

Python turns SIGINT into an exception at any place, and a callback from C swallows it.  Until the
stream waits for signals, SIGINT stops the process as SIGTERM does: at once, without a traceback.
"""

from __future__ import annotations

import os
import signal

_STDIN, _STDERR = 0, 2


def main() -> None:
    """Run the command."""
    obey_sigint()
    for fd in (_STDIN, _STDERR):
        hold(fd)
    from xctl_probe.cli import main as run  # noqa: PLC0415 - it takes 0.1 s

    run()


def obey_sigint() -> None:
    """Let SIGINT stop the process, unless it is ignored (a background job of a shell)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def hold(fd: int) -> None:
    """Open /dev/null as this descriptor where it is closed, as the shell's 2>&- leaves it.

    Else the next file that is opened has this number, and receives what is meant for stderr.
    """
    try:
        os.fstat(fd)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)
        os.set_inheritable(fd, True)
