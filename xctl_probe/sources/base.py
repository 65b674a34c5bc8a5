"""What a source of counters implements.  Sources of socket events: `events.Source`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from xctl_probe.events import Event


class CounterSource(Protocol):
    """Counters of the host, read once an interval."""

    @property
    def name(self) -> str:
        """The place that a shortage of descriptors or memory is reported under (`net.where`)."""

    def collect(self) -> Iterator[Event]:
        """What the counters have grown by since the last call."""
