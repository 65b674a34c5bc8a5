"""The queue pairs of RDMA devices, by process, and the counters that are bound to them.

NETLINK_RDMA, include/uapi/rdma/rdma_netlink.h; drivers/infiniband/core/nldev.c.  Dumps need no
privilege.  They show what the reader's own pid namespace sees, and pids as that one numbers them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from xctl_probe.linux.links import attributes, name_text
from xctl_probe.linux.netlink import NetlinkSocket
from xctl_probe.linux.rdma_uapi import (
    DEV_INDEX,
    DEV_NAME,
    DEV_NODE_TYPE,
    GET,
    NETLINK_RDMA,
    PORT_INDEX,
    RES_GET,
    RES_KERN_NAME,
    RES_LQPN,
    RES_PID,
    RES_QP,
    RES_QP_ENTRY,
    RES_QP_GET,
    RES_RQ_PSN,
    RES_RQPN,
    RES_SQ_PSN,
    RES_STATE,
    RES_SUMMARY,
    RES_SUMMARY_ENTRY,
    RES_SUMMARY_ENTRY_CURR,
    RES_SUMMARY_ENTRY_NAME,
    RES_TYPE,
    STAT_COUNTER,
    STAT_COUNTER_ENTRY,
    STAT_COUNTER_ID,
    STAT_GET,
    STAT_HWCOUNTER_ENTRY,
    STAT_HWCOUNTER_NAME,
    STAT_HWCOUNTER_VALUE,
    STAT_HWCOUNTERS,
    STAT_RES,
)

_RNIC = 4  # RDMA_NODE_RNIC, include/rdma/ib_verbs.h
_U8, _U32, _U64 = struct.Struct("=B"), struct.Struct("=I"), struct.Struct("=Q")
_U8_ATTRIBUTE, _U32_ATTRIBUTE = struct.Struct("=HHB"), struct.Struct("=HHI")

# A dump of a GSI queue pair of qedr stops the kernel before 5.16 (4f960393a0ee).
NEVER_DUMPED = frozenset(("qedr",))

# enum ib_qp_type and enum ib_qp_state
TYPES = {
    0: "SMI", 1: "GSI", 2: "RC", 3: "UC", 4: "UD", 8: "RAW_PACKET", 9: "XRC_INI", 10: "XRC_TGT",
    255: "DRIVER",
}  # fmt: skip
STATES = {0: "RESET", 1: "INIT", 2: "RTR", 3: "RTS", 4: "SQD", 5: "SQE", 6: "ERR"}
FAILED_STATES = ("SQE", "ERR")
_FAILED = tuple(
    _U8_ATTRIBUTE.pack(_U8_ATTRIBUTE.size, RES_STATE, number)
    for number, word in STATES.items()
    if word in FAILED_STATES
)


@dataclass(frozen=True, slots=True)
class Device:
    """An RDMA device.  `iwarp`: its queue pairs have no packet sequence numbers."""

    index: int
    name: str
    iwarp: bool


@dataclass(frozen=True, slots=True)
class QueuePair:
    """A queue pair at one moment; None: not known, or it has none.

    `pid` is that of the process that made it, None of the kernel's own (`kernel_name`).  The
    packet sequence numbers have 24 bits: the next to send, and the next to receive.
    """

    device: str
    port: int | None
    number: int
    peer: int | None  # its number on the peer's host
    type: str
    state: str
    sq_psn: int | None
    rq_psn: int | None
    pid: int | None
    kernel_name: str | None = None


@dataclass(frozen=True, slots=True)
class BoundCounter:
    """A set of counters that the operator has bound to the queue pairs of one process."""

    id: int
    port: int
    pid: int
    values: dict[str, int] = field(hash=False)  # running totals


class RdmaNetlink:
    """Asks the kernel.  Opening the socket loads ib_core: only for hosts that have a device."""

    def __init__(self, netlink: NetlinkSocket | None = None) -> None:
        self._netlink = netlink or NetlinkSocket(NETLINK_RDMA)

    def close(self) -> None:
        """Give the descriptor back."""
        self._netlink.close()

    def devices(self) -> list[Device]:
        """The devices of this network namespace.  Raises OSError."""
        found = []
        for message in self._netlink.dump(GET, b""):
            parts = dict(attributes(message, 0))
            index, name = _number(parts.get(DEV_INDEX)), parts.get(DEV_NAME)
            if index is not None and name is not None:
                iwarp = _number(parts.get(DEV_NODE_TYPE)) == _RNIC
                found.append(Device(index, _text(name), iwarp))
        return found

    def queue_pair_counts(self) -> dict[tuple[int, str], int | None]:
        """How many queue pairs each device has, by its index and name.  No firmware is asked.

        None where the kernel does not know.  Raises OSError.
        """
        answers = map(_queue_pair_count, self._netlink.dump(RES_GET, b""))
        return dict(one for one in answers if one is not None)

    def queue_pairs(self, device: Device, pid: int) -> list[QueuePair]:
        """Those of one process.  Raises OSError: ENODEV where the device is gone."""
        needle = _U32_ATTRIBUTE.pack(_U32_ATTRIBUTE.size, RES_PID, pid)
        return [one for one in self._matching(device, (needle,)) if one.pid == pid]

    def all_queue_pairs(self, device: Device) -> list[QueuePair]:
        """Those of all processes and of the kernel.  Raises OSError: ENODEV as above."""
        return list(self._matching(device, (b"",)))

    def failed(self, device: Device, seen: Callable[[bytes], None]) -> list[QueuePair]:
        """Those in an error state, of all processes and of the kernel.  Raises OSError.

        `seen` is called with each message of the dump.
        """
        found = self._matching(device, _FAILED, seen)
        return [one for one in found if one.state in FAILED_STATES]

    def _matching(
        self,
        device: Device,
        needles: tuple[bytes, ...],
        seen: Callable[[bytes], None] | None = None,
    ) -> Iterator[QueuePair]:
        """The queue pairs whose entries contain one of the byte strings.

        A host may have thousands: a message without any of the strings is not taken apart.  `seen`
        is called with each message.
        """
        request = _U32_ATTRIBUTE.pack(_U32_ATTRIBUTE.size, DEV_INDEX, device.index)
        for message in self._netlink.dump(RES_QP_GET, request):
            if seen is not None:
                seen(message)
            if not any(needle in message for needle in needles):
                continue
            for kind, table in attributes(message, 0):
                if kind != RES_QP:
                    continue
                for inner, entry in attributes(table, 0):
                    if inner != RES_QP_ENTRY or not any(needle in entry for needle in needles):
                        continue
                    if (one := _queue_pair(device.name, entry)) is not None:
                        yield one

    def bound_counters(self, device: Device) -> Iterator[BoundCounter]:
        """The counters by process that `rdma statistic qp set ... auto pid on` has made.

        Raises OSError: EINVAL before kernel 5.3.
        """
        request = _U32_ATTRIBUTE.pack(8, DEV_INDEX, device.index)
        request += _U32_ATTRIBUTE.pack(8, STAT_RES, RES_QP)
        for message in self._netlink.dump(STAT_GET, request):
            for kind, table in attributes(message, 0):
                if kind != STAT_COUNTER:
                    continue
                for inner, entry in attributes(table, 0):
                    one = _bound_counter(entry) if inner == STAT_COUNTER_ENTRY else None
                    if one is not None:
                        yield one


@lru_cache(maxsize=64)  # they seldom change
def _queue_pair_count(message: bytes) -> tuple[tuple[int, str], int | None] | None:
    """Index and name of a device, and how many queue pairs it has."""
    parts = dict(attributes(message, 0))
    index, name = _number(parts.get(DEV_INDEX)), parts.get(DEV_NAME)
    if index is None or name is None:
        return None
    count = None
    for kind, entry in attributes(parts.get(RES_SUMMARY, b""), 0):
        one = dict(attributes(entry, 0))
        named = _text(one.get(RES_SUMMARY_ENTRY_NAME, b"")) == "qp"
        if kind == RES_SUMMARY_ENTRY and named:
            count = _number(one.get(RES_SUMMARY_ENTRY_CURR))
    return (index, _text(name)), count


def _queue_pair(device: str, entry: bytes) -> QueuePair | None:
    parts = dict(attributes(entry, 0))
    number = _number(parts.get(RES_LQPN))
    if number is None:
        return None
    kernel_name = parts.get(RES_KERN_NAME)
    type_number, state = _number(parts.get(RES_TYPE)), _number(parts.get(RES_STATE))
    return QueuePair(
        device=device,
        port=_number(parts.get(PORT_INDEX)),
        number=number,
        peer=_number(parts.get(RES_RQPN)) or None,  # 0 before it is connected
        type="" if type_number is None else TYPES.get(type_number, str(type_number)),
        state="" if state is None else STATES.get(state, str(state)),
        sq_psn=_number(parts.get(RES_SQ_PSN)),
        rq_psn=_number(parts.get(RES_RQ_PSN)),
        pid=_number(parts.get(RES_PID)) or None,
        kernel_name=None if kernel_name is None else _text(kernel_name),
    )


def _bound_counter(entry: bytes) -> BoundCounter | None:
    parts = dict(attributes(entry, 0))
    identity, pid = _number(parts.get(STAT_COUNTER_ID)), _number(parts.get(RES_PID))
    port = _number(parts.get(PORT_INDEX))
    if identity is None or port is None or not pid:
        return None
    values = {}
    for kind, one in attributes(parts.get(STAT_HWCOUNTERS, b""), 0):
        counter = dict(attributes(one, 0))
        name, value = counter.get(STAT_HWCOUNTER_NAME), _number(counter.get(STAT_HWCOUNTER_VALUE))
        if kind == STAT_HWCOUNTER_ENTRY and name is not None and value is not None:
            values[_text(name)] = value
    return BoundCounter(identity, port, pid, values)


def _number(value: bytes | None) -> int | None:
    for form in (_U8, _U32, _U64):
        if value is not None and len(value) == form.size:
            number: int = form.unpack(value)[0]
            return number
    return None


def _text(value: bytes) -> str:
    return name_text(value.partition(b"\0")[0])
