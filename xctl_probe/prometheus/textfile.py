"""`--prometheus-file`: the metrics in a file for the textfile collector of node_exporter."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from xctl_probe.errors import ProbeError, UsageError, is_shortage
from xctl_probe.exporters.records import Record
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.intake import Intake

_APART_S = 1.0  # least time between two writes
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE = 0o644  # node_exporter runs as another user
_NS_PER_MS = 1_000_000


class TextFile:
    """Receives the records of each interval and writes them to a file, about once a second.

    A reader sees a whole file or none: each is written beside it and renamed.  `report` gets one
    line at the first write that fails; later ones are tried again.  Raises UsageError where the
    file cannot be written at the start.
    """

    where = "prometheus_file"
    takes_all = True

    def __init__(self, path: Path, collector: Collector, report: Callable[[str], None]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._collector = collector
        self._report: Callable[[str], None] | None = report
        self._intake = Intake()
        self._ended = threading.Event()
        try:
            self._write()
        except OSError as error:
            self._intake.close()
            # A disk that is full may have room later: a service is started again.
            kind = ProbeError if is_shortage(error) else UsageError
            raise kind(
                f"--prometheus-file {path}: {error.strerror}; "
                "name a file in a directory that can be written"
            ) from error
        self._thread = threading.Thread(target=self._run, name="prometheus-file", daemon=True)
        self._thread.start()

    def put(self, records: Sequence[Record]) -> None:
        """Queue the records of one interval."""
        self._intake.put(records)

    def dropped(self) -> int:
        """Return the number of records that were dropped since the last call."""
        return self._intake.dropped()

    def close(self, wait_s: float) -> None:
        """Remove the file, so that it is not taken for current.  Safe to call twice.

        Waits for a write for at most `wait_s`.
        """
        self._ended.set()
        if self._thread.is_alive():
            self._intake.stop()
            self._thread.join(wait_s)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._intake.fileno(), select.POLLIN)
        stopped = False
        while not stopped:
            poll.poll()
            intervals, stopped = self._intake.take()
            for records in intervals:
                self._add(records)
            if not stopped:
                self._try_to_write()
                self._ended.wait(_APART_S)
        for path in (self._temporary, self._path):
            with suppress(OSError):
                os.unlink(path)

    def _add(self, records: Sequence[Record]) -> None:
        try:
            self._collector.add(records, time.monotonic_ns(), time.time_ns() // _NS_PER_MS)
        except MemoryError:
            self._intake.drop(len(records))

    def _try_to_write(self) -> None:
        try:
            self._write()
        except (OSError, MemoryError) as error:
            report, self._report = self._report, None
            if report is not None:
                report(
                    f"--prometheus-file {self._path}: {getattr(error, 'strerror', error)}; the "
                    "file is old until a write succeeds, and the stream goes on"
                )

    def _write(self) -> None:
        with suppress(FileNotFoundError):  # of a probe that was killed
            os.unlink(self._temporary)
        fd = os.open(self._temporary, _CREATE, _MODE)
        try:
            with open(fd, "wb") as file:
                os.fchmod(fd, _MODE)  # whatever the umask
                file.write(self._collector.registry.text())
            os.rename(self._temporary, self._path)
        except BaseException:
            with suppress(OSError):
                os.unlink(self._temporary)
            raise
