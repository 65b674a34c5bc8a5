"""RDMA of this host: its ports, and the pauses of their interfaces."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.events import Event
from xctl_probe.sources.pauses import Pauses
from xctl_probe.sources.rdma_ports import RdmaPorts


class Rdma:
    """The counters of all that has to do with RDMA.

    `only` names ports, or network interfaces of ports; all when empty.  A host without RDMA pays
    for one attempt to list a folder that does not exist.
    """

    name = "rdma"

    def __init__(
        self,
        only: frozenset[str] = frozenset(),
        *,
        ports: RdmaPorts | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._ports = ports or RdmaPorts(only)
        self._pauses = pauses or Pauses()
        list(self._pauses.collect(self._netdevs()))

    def collect(self) -> Iterator[Event]:
        """What the ports moved and failed at since the last call, and what paused them."""
        yield from self._ports.collect()
        yield from self._pauses.collect(self._netdevs())

    def _netdevs(self) -> list[str]:
        return [link.netdev for link in self._ports.links.values() if link.netdev]
