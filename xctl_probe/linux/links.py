"""Interfaces of this network namespace: names, counters, creation, removal.  rtnetlink(7).

The kernel allows any bytes in a name but '/', ':' and blanks (dev_valid_name(), net/core/dev.c).
The text is UTF-8 with backslashreplace, as of a process name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from xctl_probe.errors import is_shortage
from xctl_probe.linux.netlink import NetlinkSocket, messages

NETLINK_ROUTE = 0
LINK_GROUP = 1  # RTNLGRP_LINK
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_IFLA_IFNAME, _IFLA_STATS64 = 3, 23
_AF_UNSPEC = 0
# netdevice(7), include/uapi/linux/if_arp.h
_SIOCGIFHWADDR = 0x8927
_IFREQ = struct.Struct("=16sH22x")  # with sa_family of ifr_hwaddr
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772

_IFINFOMSG = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_KIND = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
# struct rtnl_link_stats64 up to rx_missed_errors: packets, bytes, errors, dropped of both ways
_STATS = struct.Struct("=16x 6Q 56x Q")
_DEV_FIELDS = 16  # of a line of /proc/net/dev, after the name


class Counts(NamedTuple):
    """Totals in bytes and packets; as in /proc/net/dev, packets that a ring missed are dropped."""

    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class Link(NamedTuple):
    """An interface and its counters; `key` is its ifindex, or its name where that is unknown."""

    key: int | str
    name: str
    counts: Counts


class Birth(NamedTuple):
    """A new interface of this namespace, with the counters that it had in another one."""

    link: Link


class End(NamedTuple):
    """An interface that left this namespace, with its last counters."""

    link: Link


def name_text(name: bytes) -> str:
    """Return the name of an interface as text for records."""
    return name.decode("utf-8", "backslashreplace")


def given_name(word: str) -> str:
    """Return the same text for a name of the command line, which is also bytes."""
    return name_text(os.fsencode(word)) if _is_encodable(word) else word


def name_of(ifindex: int) -> str | None:
    """Return the name of the interface with this index, None where it does not exist."""
    try:
        return name_text(os.fsencode(socket.if_indextoname(ifindex)))
    except OSError:
        return None


def has_ethernet_header(ifindex: int) -> bool:
    """Return whether packets of this interface begin with an Ethernet header.

    Those of GRE, IP in IP, WireGuard and TUN begin with their IP header.  True where the interface
    does not exist.
    """
    try:
        name = os.fsencode(socket.if_indextoname(ifindex))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, _IFREQ.pack(name, 0))
    except OSError:
        return True
    return _IFREQ.unpack(answer)[1] in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)


class Links:
    """Reads interfaces by rtnetlink, or from /proc/net/dev where that is refused.

    Without `changes`, `queue` yields nothing.  Raises OSError where descriptors or memory run out.
    """

    def __init__(self, proc: Path = Path("/proc"), *, changes: bool = True) -> None:
        self._dev = proc / "net" / "dev"
        self._dumps: NetlinkSocket | None = None
        self._multicast: NetlinkSocket | None = None
        self._has_netlink = True
        try:
            self._dumps = NetlinkSocket(NETLINK_ROUTE)
            if changes:  # its buffer fills up where nothing is read from it
                self._multicast = NetlinkSocket(NETLINK_ROUTE)
                self._multicast.join(LINK_GROUP)
        except OSError as error:
            self.close()
            if is_shortage(error):
                raise

    def close(self) -> None:
        """Close the descriptors.  Safe to call twice."""
        self._has_netlink = False
        self._close_dumps()
        self._close_multicast()

    def _close_dumps(self) -> None:
        if self._dumps is not None:
            self._dumps.close()
        self._dumps = None

    def _close_multicast(self) -> None:
        if self._multicast is not None:
            self._multicast.close()
        self._multicast = None

    def read(self) -> list[Link]:
        """Return all interfaces with their current counters; none without either place.

        Raises OSError where descriptors or memory run out.  The next call tries again.
        """
        if self._has_netlink:
            try:
                return self._read_netlink()
            except (OSError, ValueError) as error:  # a message without counters (gVisor)
                if is_shortage(error):
                    raise
                self.close()
        try:
            return list(parse_dev(self._dev.read_bytes()))
        except OSError as error:
            if is_shortage(error):
                raise
            return []

    def _read_netlink(self) -> list[Link]:
        """Return the interfaces of a dump; after one that was cut short, of another one."""
        try:
            return self._dump()
        except OSError as error:
            if error.errno != errno.EBADMSG:
                raise
        return self._dump()

    def _dump(self) -> list[Link]:
        if self._dumps is None:
            self._dumps = NetlinkSocket(NETLINK_ROUTE)
        try:
            return [_counted(message) for message in self._dumps.dump(_RTM_GETLINK, bytes(16))]
        except (OSError, ValueError):
            self._close_dumps()  # the next answer would begin with the rest of this one
            raise

    def queue(self) -> Iterator[Birth | End]:
        """Yield the interfaces that came or left since the last call.

        A change of an interface also yields a `Birth`.  Messages that the kernel dropped are
        missing.
        """
        while self._multicast is not None:
            try:
                buffer = self._multicast.receive()
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                if not is_shortage(error):
                    self._close_multicast()
                return
            if buffer is None:
                return
            for kind, message in messages(buffer):
                link = parse_link(message)
                if link is not None and kind in (_RTM_NEWLINK, _RTM_DELLINK):
                    yield Birth(link) if kind == _RTM_NEWLINK else End(link)


def parse_link(message: bytes) -> Link | None:
    """Decode a link message (struct ifinfomsg); None for one without name or counters.

    Messages of a bridge about its ports have another family and remove no interface.
    """
    if len(message) < _IFINFOMSG.size:
        return None
    family, _, index, _, _ = _IFINFOMSG.unpack_from(message)
    name, counts = b"", None
    for kind, value in attributes(message, _IFINFOMSG.size):
        if kind == _IFLA_IFNAME:
            name = value.partition(b"\0")[0]
        elif kind == _IFLA_STATS64 and len(value) >= _STATS.size:
            rx, tx, rx_err, tx_err, rx_drop, tx_drop, missed = _STATS.unpack_from(value)
            counts = Counts(rx, tx, rx_err, tx_err, rx_drop + missed, tx_drop)
    if family != _AF_UNSPEC or not name or counts is None:
        return None
    return Link(index, name_text(name), counts)


def attributes(message: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each attribute from `offset`, up to the first that does not fit."""
    while offset + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < _ATTRIBUTE.size or offset + length > len(message):
            return
        yield kind & _KIND, message[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def parse_dev(table: bytes) -> Iterator[Link]:
    """Yield the interfaces of /proc/net/dev, without lines that do not parse."""
    for line in table.split(b"\n")[2:]:
        name, _, rest = line.partition(b":")
        fields = rest.split()
        if len(fields) < _DEV_FIELDS or not all(field.isdigit() for field in fields):
            continue
        counts = Counts._make(int(fields[i]) for i in (0, 8, 2, 10, 3, 11))
        text = name_text(name.strip(b" "))
        yield Link(text, text, counts)


def _counted(message: bytes) -> Link:
    link = parse_link(message)
    if link is None:
        raise ValueError("a link without counters")
    return link


def _is_encodable(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True
