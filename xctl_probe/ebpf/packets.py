"""Counters of the packets of interfaces, by protocol: loaded for `packets` only."""

from __future__ import annotations

import errno
import os
import platform
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from xctl_probe.ebpf.bpf_object import Object, object_for, open_object
from xctl_probe.ebpf.libbpf import BpfError, Library
from xctl_probe.ebpf.packets_hook import PacketsHook
from xctl_probe.ebpf.programs import Handles
from xctl_probe.errors import SourceUnavailable
from xctl_probe.events import PACKET_KINDS, Counted, PacketCounts
from xctl_probe.linux.links import has_ethernet_header

IMAGE = "packets.bpf.o"
RECEIVE, TRANSMIT, XDP_PROGRAM = "count_receive", "count_transmit", "count_xdp"
KEY = struct.Struct("=II")  # struct packet_key of bpf/include/packets_abi.h
COUNTS = struct.Struct(f"={2 * len(PACKET_KINDS)}Q")  # struct packet_counts
# include/uapi/linux/bpf.h: enum bpf_attach_type, and flags of BPF_LINK_CREATE
_XDP, _TCX_INGRESS, _TCX_EGRESS = 37, 46, 47
_FIRST = 1 << 3  # BPF_F_BEFORE without another program: what those after it drop is counted, too
_SKB_MODE, _DRIVER_MODE = 1 << 1, 1 << 2  # include/uapi/linux/if_link.h: XDP_FLAGS_*


@dataclass(slots=True)
class _Attached:
    name: str
    links: list[int]  # descriptors
    before: dict[int, tuple[int, ...]] = field(default_factory=dict)  # counts by is_transmit


class PacketCounters:
    """Programs on interfaces of this network namespace, by links: gone with the process.

    A program that is there stays.  `log` receives the messages of libbpf.  Raises
    SourceUnavailable with the reason.
    """

    def __init__(self, hook: PacketsHook, log: Callable[[str], None] | None = None) -> None:
        self._hook = hook
        self._library = Library()
        self._object = _loaded(self._library, hook, log)
        self._map = self._object.map("packets", KEY.size, COUNTS.size)
        self._cpus = self._library.calls.libbpf_num_possible_cpus()
        self._attached: dict[int, _Attached] = {}
        self._refused: dict[int, str] = {}  # ifindex: name

    def follow(self, interfaces: Iterable[tuple[int, str]]) -> list[str]:
        """Attach to new ones of these (ifindex, name), and leave those that are not among them.

        Returns a sentence for each that refuses, once.
        """
        wanted = dict(interfaces)
        for ifindex in [one for one in self._attached if one not in wanted]:
            self._leave(ifindex)
        self._refused = {key: name for key, name in self._refused.items() if key in wanted}
        refusals = []
        for ifindex, name in wanted.items():
            if ifindex in self._attached:
                self._attached[ifindex].name = name
            elif ifindex not in self._refused and (reason := self._refusal(ifindex, name)):
                self._refused[ifindex] = name
                refusals.append(f"no packets of {name}: {reason}")
        return refusals

    def collect(self) -> dict[str, PacketCounts]:
        """Return what each interface has counted since the last call."""
        return {
            one.name: PacketCounts(self._since(ifindex, one, 0), self._since(ifindex, one, 1))
            for ifindex, one in self._attached.items()
        }

    def handles(self) -> Handles:
        """Return what figures about programs and maps are read from."""
        loaded = (_receiver(self._hook), TRANSMIT)
        programs = {name: self._object.program_fd(name) for name in loaded}
        return replace(self._object.handles(), programs=programs)

    def close(self) -> None:
        """Detach.  Safe to call twice."""
        for ifindex in list(self._attached):
            self._leave(ifindex)
        self._object.close()

    def _since(self, ifindex: int, one: _Attached, is_transmit: int) -> dict[str, Counted]:
        value = self._map.lookup(KEY.pack(ifindex, is_transmit), self._cpus)
        if value is None:
            return {}
        total = tuple(map(sum, zip(*COUNTS.iter_unpack(value), strict=True)))
        before = one.before.get(is_transmit, (0,) * len(total))
        one.before[is_transmit] = total
        grown = [now - then for now, then in zip(total, before, strict=True)]
        pairs = zip(PACKET_KINDS, grown, grown[len(PACKET_KINDS) :], strict=False)
        return {kind: Counted(packets, size) for kind, packets, size in pairs if packets}

    def _refusal(self, ifindex: int, name: str) -> str | None:
        """Attach to an interface; return the reason where that cannot be."""
        if self._hook is not PacketsHook.TCX and not has_ethernet_header(ifindex):
            return "its packets have no Ethernet header for XDP; --packets-hook tcx counts them"
        try:
            self._attached[ifindex] = _Attached(name, self._attach(ifindex))
        except BpfError as refusal:
            return self._explain(refusal)
        return None

    def _attach(self, ifindex: int) -> list[int]:
        """Return the links of one interface.  Raises BpfError."""
        receive = self._object.program_fd(_receiver(self._hook))
        transmit = self._object.program_fd(TRANSMIT)
        links: list[int] = []
        try:
            if self._hook is PacketsHook.TCX:
                links.append(self._library.link(receive, ifindex, _TCX_INGRESS, _FIRST))
            else:
                mode = _SKB_MODE if self._hook is PacketsHook.XDP else _DRIVER_MODE
                links.append(self._library.link(receive, ifindex, _XDP, mode))
            try:
                links.append(self._library.link(transmit, ifindex, _TCX_EGRESS, _FIRST))
            except BpfError as refusal:  # before 6.6: only what is received
                if self._hook is PacketsHook.TCX or refusal.errno != errno.EINVAL:
                    raise
        except BpfError:
            for link in links:
                os.close(link)
            raise
        return links

    def _leave(self, ifindex: int) -> None:
        for link in self._attached.pop(ifindex).links:
            os.close(link)
        for is_transmit in (0, 1):
            self._map.delete(KEY.pack(ifindex, is_transmit))

    def _explain(self, refusal: BpfError) -> str:
        if self._hook is PacketsHook.TCX and refusal.errno == errno.EINVAL:
            return "the kernel has no tcx (Linux 6.6); --packets-hook xdp counts what is received"
        if refusal.errno == errno.EBUSY:
            return "another XDP program is attached; --packets-hook tcx counts beside it"
        if refusal.errno == errno.EOPNOTSUPP:
            return "its driver has no XDP; --packets-hook xdp works with any"
        return str(refusal)


def _receiver(hook: PacketsHook) -> str:
    """Return the program that counts what is received; that of the other hooks is not loaded."""
    return RECEIVE if hook is PacketsHook.TCX else XDP_PROGRAM


def _loaded(library: Library, hook: PacketsHook, log: Callable[[str], None] | None) -> Object:
    image = object_for(IMAGE)
    if image is None:
        raise SourceUnavailable(f"there is no {IMAGE} for {platform.machine()}")
    opened = None
    try:
        opened = open_object(library, image)
        opened.skip(XDP_PROGRAM if hook is PacketsHook.TCX else RECEIVE)
        opened.load()
    except BpfError as refusal:
        if opened is not None:
            opened.close()
        if refusal.errno in (errno.EPERM, errno.EACCES):
            raise SourceUnavailable("it needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN") from None
        raise SourceUnavailable(f"{refusal}; --verbose shows more") from None
    finally:
        library.report(log)
    return opened
