"""Interface that the kernel's routing selects between two addresses.  rtnetlink(7).

Any user may request it.  Rules by mark, user or port are not applied, and ports do not choose
between the next hops of a route.
"""

from __future__ import annotations

import errno
import socket
import struct

from xctl_probe.linux.links import LINK_GROUP, NETLINK_ROUTE, attributes
from xctl_probe.linux.netlink import NetlinkSocket

_RTM_GETROUTE = 26
# struct rtmsg: family, lengths of destination and source in bits, tos, table, protocol, scope,
# type; flags
_RTMSG = struct.Struct("=8BI")
_RTA = struct.Struct("=HH")
_IFINDEX = struct.Struct("=I")
_RTA_DST, _RTA_SRC, _RTA_OIF = 1, 2, 4
# RTN_UNICAST, RTN_LOCAL: IPv6 returns a route of another type where there is none.
_LEADS_SOMEWHERE = (1, 2)
# RTNLGRP_ of addresses, routes and rules, of IPv4 and IPv6, and of next hops.  When a link goes
# down, its IPv4 routes are removed, with a message about the link only.
_GROUPS = (LINK_GROUP, 5, 7, 8, 9, 11, 19, 32)


class Routes:
    """Requests routes of this network namespace; only the requests raise OSError."""

    def __init__(self) -> None:
        self._netlink: NetlinkSocket | None = None
        self._multicast: NetlinkSocket | None = None
        try:
            self._netlink = NetlinkSocket(NETLINK_ROUTE)
            self._multicast = _listener()
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the descriptors.  Safe to call twice."""
        for one in (self._netlink, self._multicast):
            if one is not None:
                one.close()
        self._netlink = self._multicast = None

    def interface(self, local: str, remote: str, bound_ifindex: int = 0) -> int:
        """Return the ifindex of the route, 0 for a route without an interface.

        Raises OSError where there is no route, or where rtnetlink is refused.
        """
        if self._netlink is None:
            raise PermissionError(errno.EPERM, "rtnetlink is refused")
        answer = self._netlink.ask(_RTM_GETROUTE, route_request(local, remote, bound_ifindex))
        return route_answer(answer)

    def changed(self) -> bool:
        """True where a link, address, route or rule has changed since the last call."""
        changed = False
        while self._multicast is not None:
            try:
                if self._multicast.receive() is None:
                    break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # dropped messages: also a change
                    self.close()
            changed = True
        return changed


def route_request(local: str, remote: str, bound_ifindex: int) -> bytes:
    """Encode a request, for text addresses of one family."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    destination = socket.inet_pton(family, remote)
    source = socket.inet_pton(family, local)
    bits = len(destination) * 8
    parts = [
        _RTMSG.pack(family, bits, bits, 0, 0, 0, 0, 0, 0),
        _attribute(_RTA_DST, destination),
        _attribute(_RTA_SRC, source),
    ]
    if bound_ifindex:
        parts.append(_attribute(_RTA_OIF, _IFINDEX.pack(bound_ifindex)))
    return b"".join(parts)


def route_answer(message: bytes) -> int:
    """Decode the ifindex of a response, 0 where the route has no interface."""
    if len(message) < _RTMSG.size or message[7] not in _LEADS_SOMEWHERE:
        return 0
    for kind, value in attributes(message, _RTMSG.size):
        if kind == _RTA_OIF and len(value) == _IFINDEX.size:
            ifindex: int = _IFINDEX.unpack(value)[0]
            return ifindex
    return 0


def _attribute(kind: int, value: bytes) -> bytes:
    return _RTA.pack(_RTA.size + len(value), kind) + value


def _listener() -> NetlinkSocket:
    queue = NetlinkSocket(NETLINK_ROUTE)
    for group in _GROUPS:
        queue.join(group)
    return queue
