"""Messages to the service manager: readiness, watchdog, state.  sd_notify(3), systemd.service(5).

One datagram each, sent without waiting.  What the environment holds is not trusted: a value that
is no address, or no number, is as if it were not set.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_MOST_PATH_BYTES = 107  # sun_path without its zero byte, unix(7)
_MOST_TEXT = 200
_NS_PER_US = 1_000
_LONGEST_US = (1 << 63) // _NS_PER_US
# Messages in one watchdog time: systemd recommends two, and one of them may be late.
_IN_WATCHDOG = 4


class Notifier:
    """Sends to the socket that NOTIFY_SOCKET names; without one it does nothing.

    `environ`: NOTIFY_SOCKET is a path or an abstract name (`@...`); WATCHDOG_USEC is the time
    after which the manager takes a silent process for hung, and counts only for WATCHDOG_PID.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._socket: socket.socket | None = None
        self._state = ""
        self._next_ns = 0
        self.watchdog_ns: int | None = None
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        if not self._address:
            return
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            return
        if environ.get("WATCHDOG_PID", str(pid)) == str(pid):
            self.watchdog_ns = _watchdog_ns(environ.get("WATCHDOG_USEC", ""))

    @property
    def listens(self) -> bool:
        """True where the environment names a socket."""
        return self._socket is not None

    def ready(self, state: str) -> None:
        """Report that the start is over, with a short text."""
        self._state = state
        self._send(f"READY=1\nSTATUS={_line(state)}")

    def interval(self, now_ns: int, state: str) -> None:
        """Report an interval that passed, and the text where it differs.

        At most four messages in the time of the watchdog.
        """
        words = []
        if self.watchdog_ns is not None and now_ns >= self._next_ns:
            self._next_ns = now_ns + self.watchdog_ns // _IN_WATCHDOG
            words.append("WATCHDOG=1")
        if state != self._state:
            self._state = state
            words.append(f"STATUS={_line(state)}")
        if words:
            self._send("\n".join(words))

    def stopping(self) -> None:
        """Report that the process is about to exit."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket.  Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            # Not connected: a manager that starts again has another socket at the same address.
            self._socket.sendto(text.encode("ascii", "replace"), self._address)
        except OSError:  # full, or gone: the next message is as good
            return


def _address(given: str) -> bytes:
    """Return the address for sendto(2); empty where the text is none, as of AF_VSOCK."""
    name = os.fsencode(given)
    if len(name) < 2 or len(name) > _MOST_PATH_BYTES or name[:1] not in (b"/", b"@"):  # noqa: PLR2004
        return b""
    return b"\0" + name[1:] if name[:1] == b"@" else name


def _watchdog_ns(given: str) -> int | None:
    if not (given.isascii() and given.isdigit() and len(given) < 20):  # noqa: PLR2004
        return None
    us = int(given)
    return us * _NS_PER_US if 0 < us < _LONGEST_US else None


def _line(state: str) -> str:
    """Return one line without control characters, of a bounded length."""
    return "".join(c if c.isprintable() else "?" for c in state)[:_MOST_TEXT]
