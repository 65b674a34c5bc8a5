"""Totals of the kernel by process and interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from xctl_probe.ebpf.abi import MOST_BYTES, ProcessTraffic, decode_process
from xctl_probe.ebpf.ifindex_names import IfindexNames
from xctl_probe.ebpf.programs import Map
from xctl_probe.events import DroppedEvents, TrafficDelta

_QUIET_DRAINS = 60  # without traffic, after which an invisible process counts as exited


@dataclass(slots=True)
class _Reported:
    sent_bytes: int = 0
    received_bytes: int = 0
    idle_drains: int = 0
    value: bytes = b""  # as it was read last


class ProcessTotals:
    """Deltas of the map `processes`.

    The totals of the kernel are never reset, because a reset would lose concurrent additions; an
    entry is deleted when its process has exited.  A total can decrease, because two may count the
    same bytes for a moment.  Then nothing is reported until the total exceeds the last reported
    value.
    """

    def __init__(self, table: Map) -> None:
        self._table = table
        self._reported: dict[bytes, _Reported] = {}

    def traffic(self, interfaces: IfindexNames) -> Iterator[TrafficDelta | DroppedEvents]:
        """Yield the bytes since the last call; an invalid total yields `DroppedEvents`.

        Raises OSError.
        """
        for key, value in list(self._table.items()):
            reported = self._reported.setdefault(key, _Reported())
            if value == reported.value:  # of most processes
                self._rest(key, reported)
                continue
            reported.value = value
            now = decode_process(key, value)
            sent = now.sent_bytes - reported.sent_bytes
            received = now.received_bytes - reported.received_bytes
            if max(abs(sent), abs(received)) >= MOST_BYTES:
                self._reported[key] = _Reported(now.sent_bytes, now.received_bytes)
                yield DroppedEvents("invalid_events", 1)
            elif sent > 0 or received > 0:
                sent, received = max(sent, 0), max(received, 0)
                reported.sent_bytes += sent
                reported.received_bytes += received
                reported.idle_drains = 0
                yield TrafficDelta(
                    now.owner, interfaces.name(now.ifindex, now.netns), sent, received
                )
            else:
                self._rest(key, reported)

    def _rest(self, key: bytes, reported: _Reported) -> None:
        """Count an interval without traffic; delete the entry of a process that has exited."""
        reported.idle_drains += 1
        if not _is_due(reported.idle_drains):
            return
        if _has_ended(decode_process(key, reported.value), reported.idle_drains):
            self._table.delete(key)
            del self._reported[key]


def _is_due(idle_drains: int) -> bool:
    """True where the process is checked: after 1, 2, 4 ... intervals, then from time to time."""
    return idle_drains.bit_count() == 1 or idle_drains % _QUIET_DRAINS == 0


def _has_ended(process: ProcessTraffic, quiet_drains: int) -> bool:
    if process.owner is None:
        return quiet_drains >= _QUIET_DRAINS
    return not os.path.exists(f"/proc/{process.owner.pid}")
