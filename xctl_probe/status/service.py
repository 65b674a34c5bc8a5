"""The socket of a running probe: made at the start, removed at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from xctl_probe.errors import UsageError
from xctl_probe.status import directory
from xctl_probe.status.directory import NoPlace
from xctl_probe.status.monitor import Monitor
from xctl_probe.status.server import Server


class Service:
    """The monitor of a run, and the server that answers for it; None where there is no place.

    `given` is the directory of --status-dir.  `log` gets one line where the default one cannot
    be used: the probe goes on without.  Raises UsageError where the given one cannot be used.
    """

    def __init__(
        self, monitor: Monitor, given: Path | None, log: Callable[[str], None] | None
    ) -> None:
        self.monitor = monitor
        self.server: Server | None = None
        self._directory: int | None = None
        self._name = ""
        try:
            self._listen(given)
        except NoPlace as error:
            self._release()
            if given is not None:
                raise UsageError(f"--status-dir {error}") from None
            if log is not None:
                log(f"no socket for status: {error}")

    def close(self) -> None:
        """Remove the socket, and notify the service manager.  Safe to call twice."""
        self._release()
        self.monitor.close()

    def _listen(self, given: Path | None) -> None:
        path = given or directory.own_directory(os.environ, os.geteuid())
        self._directory = directory.open_to_listen(path)
        directory.remove_remnants(self._directory)
        try:
            listener, self._name = directory.listen(self._directory)
        except OSError as error:
            reason = f"{path}: {error.strerror}; --status-dir names another directory"
            raise NoPlace(reason) from None
        self.server = Server(
            listener, {b"status": self.monitor.status, b"stalls": self.monitor.stalls}
        )

    def _release(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        if self._directory is not None:
            if self._name:
                directory.remove(self._directory, self._name)
            os.close(self._directory)
            self._directory = None
