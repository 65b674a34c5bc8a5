"""The RDMA ports of this host, and whether their bytes can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xctl_probe.linux.rdma_ports import INFINIBAND, Ports
from xctl_probe.sources.rdma_counters import WANTED, byte_rule


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """A port.  `software`: rxe or siw, whose packets pass the network stack."""

    name: str
    link: str  # link layer, rate, state and interface, as far as they are known
    netdev: str | None
    counts_bytes: bool
    software: bool


def rdma_ports(root: Path = INFINIBAND) -> list[RdmaPort]:
    """The ports that exist; none on most hosts."""
    found = []
    ports = Ports(WANTED, root)
    for port in ports.read().values():
        link = port.link()
        words = (link.layer, link.rate, link.state, link.netdev)
        found.append(
            RdmaPort(
                name=port.name,
                link=", ".join(word for word in words if word) or "no link",
                netdev=link.netdev,
                counts_bytes=byte_rule(port.counters(), port.driver) is not None,
                software=port.software,
            )
        )
    ports.close()
    return found
