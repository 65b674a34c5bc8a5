"""The kernel's side of NETLINK_RDMA: messages as drivers/infiniband/core/nldev.c writes."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from xctl_probe.linux import rdma_uapi as nl
from xctl_probe.linux.links import attributes
from xctl_probe.linux.netlink import HEADER, NLMSG_DONE, NLMSG_ERROR, NetlinkSocket
from xctl_probe.linux.rdma_netlink import STATES, TYPES, RdmaNetlink

MULTI = 2  # NLM_F_MULTI
_DUMP_BYTES = 32_768 - 320  # what netlink_dump() fills of a buffer of 32 KiB
_RES_PATH_MIG_STATE, _RES_PDN, _STAT_MODE, _STAT_AUTO_MODE_MASK = 25, 60, 74, 76
QP_TYPES = {word: number for number, word in TYPES.items()}
QP_STATES = {word: number for number, word in STATES.items()}


def attribute(kind: int, value: bytes) -> bytes:
    whole = struct.pack("=HH", 4 + len(value), kind) + value
    return whole + bytes(-len(whole) % 4)


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


@dataclass
class Qp:
    """A queue pair of the kernel."""

    number: int
    pid: int | None = None
    peer: int = 0
    type: str = "RC"
    state: str = "RTS"
    port: int = 1
    sq_psn: int = 0
    rq_psn: int = 0
    kernel_name: str | None = None

    def entry(self) -> bytes:
        """fill_res_qp_entry()"""
        parts = [u32(nl.PORT_INDEX, self.port)] if self.port else []
        parts.append(u32(nl.RES_LQPN, self.number))
        if self.kernel_name is None:
            parts.append(u32(_RES_PDN, 3))
            parts += [u32(nl.RES_PID, self.pid)] if self.pid else []
        else:
            parts.append(text(nl.RES_KERN_NAME, self.kernel_name))
        connected = self.type in ("RC", "UC")
        if connected:
            parts += [u32(nl.RES_RQPN, self.peer), u32(nl.RES_RQ_PSN, self.rq_psn)]
        parts.append(u32(nl.RES_SQ_PSN, self.sq_psn))
        if connected:
            parts.append(u8(_RES_PATH_MIG_STATE, 0))
        parts += [u8(nl.RES_TYPE, QP_TYPES[self.type]), u8(nl.RES_STATE, QP_STATES[self.state])]
        return attribute(nl.RES_QP_ENTRY, b"".join(parts))


@dataclass
class Counter:
    """A counter that `rdma statistic qp set ... auto pid on` has made."""

    id: int
    pid: int | None
    values: dict[str, int]
    port: int = 1

    def entry(self) -> bytes:
        """fill_res_counter_entry()"""
        parts = [u32(nl.PORT_INDEX, self.port), u32(nl.STAT_COUNTER_ID, self.id)]
        parts += [u32(_STAT_MODE, 1), u32(_STAT_AUTO_MODE_MASK, 2)]
        parts += [u32(nl.RES_PID, self.pid)] if self.pid else []
        parts.append(attribute(nl.RES_QP, attribute(nl.RES_QP_ENTRY, u32(nl.RES_LQPN, 23))))
        values = b"".join(
            attribute(
                nl.STAT_HWCOUNTER_ENTRY,
                text(nl.STAT_HWCOUNTER_NAME, name)
                + attribute(nl.STAT_HWCOUNTER_VALUE, struct.pack("=Q", value)),
            )
            for name, value in self.values.items()
        )
        parts.append(attribute(nl.STAT_HWCOUNTERS, values))
        return attribute(nl.STAT_COUNTER_ENTRY, b"".join(parts))


@dataclass
class FakeDevice:
    name: str = "mlx5_0"
    index: int = 0
    node_type: int = 1
    qps: list[Qp] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    errors: dict[int, int] = field(default_factory=dict)  # errno by command

    def handle(self) -> bytes:
        """fill_nldev_handle()"""
        return u32(nl.DEV_INDEX, self.index) + text(nl.DEV_NAME, self.name)

    def summary(self) -> bytes:
        """fill_res_info()"""
        entries = [
            attribute(
                nl.RES_SUMMARY_ENTRY,
                text(nl.RES_SUMMARY_ENTRY_NAME, name)
                + attribute(nl.RES_SUMMARY_ENTRY_CURR, struct.pack("=Q", count)),
            )
            for name, count in (("pd", 3), ("cq", 5), ("qp", len(self.qps)))
        ]
        return self.handle() + attribute(nl.RES_SUMMARY, b"".join(entries))

    def messages(self, command: int) -> Iterator[bytes]:
        """res_get_common_dumpit(): each message has as many entries as fit."""
        if command == nl.RES_QP_GET:
            table, entries = nl.RES_QP, [qp.entry() for qp in self.qps]
        else:
            table, entries = nl.STAT_COUNTER, [counter.entry() for counter in self.counters]
        batch: list[bytes] = []
        size = 0
        for entry in entries:
            if size + len(entry) > _DUMP_BYTES:
                yield self.handle() + attribute(table, b"".join(batch))
                batch, size = [], 0
            batch.append(entry)
            size += len(entry)
        if batch:
            yield self.handle() + attribute(table, b"".join(batch))


class FakeRdma:
    """Stands in for a socket of NETLINK_RDMA.  `dumps` are the commands that were asked for."""

    def __init__(self, *devices: FakeDevice) -> None:
        self.devices = list(devices)
        self.dumps: list[int] = []
        self._answers: list[bytes] = []

    def send(self, request: bytes) -> None:
        assert not self._answers, "a dump was not read to its end"
        _, command, flags, sequence, _ = HEADER.unpack_from(request)
        assert flags == 0x301  # NLM_F_REQUEST, NLM_F_DUMP
        self.dumps.append(command)
        code = 0
        if command == nl.GET:
            payloads = [
                one.handle() + u32(nl.PORT_INDEX, 1) + u8(nl.DEV_NODE_TYPE, one.node_type)
                for one in self.devices
            ]
        elif command == nl.RES_GET:
            payloads = [one.summary() for one in self.devices]
        else:
            parts = dict(attributes(request, HEADER.size))
            index = struct.unpack("=I", parts[nl.DEV_INDEX])[0]
            assert (nl.STAT_RES in parts) == (command == nl.STAT_GET)
            found = [one for one in self.devices if one.index == index]
            code = found[0].errors.get(command, 0) if found else errno.EINVAL
            payloads = [] if code else list(found[0].messages(command))
        self._answers = [message(command, sequence, payload) for payload in payloads]
        last = NLMSG_ERROR if code else NLMSG_DONE
        self._answers.append(message(last, sequence, struct.pack("=i", -code)))

    @property
    def pending(self) -> bool:
        """True while an answer was not read."""
        return bool(self._answers)

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        return self._answers.pop(0)

    def close(self) -> None:
        pass


def message(kind: int, sequence: int, payload: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(payload), kind, MULTI, sequence, 0) + payload


class _Socket(NetlinkSocket):
    def __init__(self, kernel: FakeRdma) -> None:
        self._socket = kernel
        self._is_answered = True
        self._sequence = 0


def netlink(kernel: FakeRdma) -> RdmaNetlink:
    return RdmaNetlink(_Socket(kernel))
