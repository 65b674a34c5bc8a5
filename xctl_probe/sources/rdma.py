"""RDMA of this host: its ports, the pauses of their interfaces, and its queue pairs."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.events import Event, PortErrors, Process
from xctl_probe.events import PortErrorKind as Kind
from xctl_probe.sources.pauses import Pauses
from xctl_probe.sources.queue_pairs import DeviceInfo, QueuePairs
from xctl_probe.sources.rdma_ports import RdmaPorts

# What is counted for a packet of a queue pair, and so concerns the process that has it.
_OF_QUEUE_PAIRS = frozenset(
    (
        Kind.RETRY,
        Kind.TIMEOUT,
        Kind.RETRY_EXCEEDED,
        Kind.SEQUENCE,
        Kind.DUPLICATE,
        Kind.OUT_OF_BUFFER,
        Kind.RNR,
        Kind.REQUEST,
        Kind.IMPAIRED,
        Kind.CNP,
        Kind.CNP_SENT,
        Kind.ECN,
    )
)


class Rdma:
    """The counters of all that has to do with RDMA.

    `only` names ports, or network interfaces of ports; all when empty.
    """

    name = "rdma"

    def __init__(
        self,
        only: frozenset[str] = frozenset(),
        *,
        ports: RdmaPorts | None = None,
        pauses: Pauses | None = None,
        queue_pairs: QueuePairs | None = None,
    ) -> None:
        self._ports = ports or RdmaPorts(only)
        self._pauses = pauses or Pauses()
        self._queue_pairs = queue_pairs or QueuePairs()
        for _ in self._beside_ports():
            pass

    def collect(self) -> Iterator[Event]:
        """What ports and queue pairs moved and failed at since the last call.

        An error of a port belongs to the process that alone has queue pairs there.
        """
        ports = list(self._ports.collect())
        beside = list(self._beside_ports())  # whose dump shows who has queue pairs now
        devices = {port.name: port.device for port in self._ports.ports}
        owners: dict[str, Process | None] = {}  # a device with congestion has several kinds of it
        for event in ports:
            device = devices.get(event.name)
            if device and isinstance(event, PortErrors) and event.kind in _OF_QUEUE_PAIRS:
                if device not in owners:
                    owners[device] = self._queue_pairs.sole_user(device)
                yield event.of(owners[device])
            else:
                yield event
        yield from beside

    def _beside_ports(self) -> Iterator[Event]:
        yield from self._pauses.collect(self._netdevs())
        yield from self._queue_pairs.collect(self._devices())

    def _netdevs(self) -> list[str]:
        return [link.netdev for link in self._ports.links.values() if link.netdev]

    def _devices(self) -> dict[str, DeviceInfo]:
        devices: dict[str, DeviceInfo] = {}
        for port in self._ports.ports:
            info = devices.setdefault(port.device, DeviceInfo(port.driver, {}, port.iwarp))
            info.ports[port.number] = port.name
        return devices
