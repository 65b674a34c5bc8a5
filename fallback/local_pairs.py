"""Connections of which both sockets are on this host, from one dump of sock_diag."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xctl_probe.fallback.message_arrays import messages_from
from xctl_probe.fallback.sock_diag import ESTABLISHED, TcpSample, decode
from xctl_probe.linux.addresses import endpoint_text

_LEAST_SEGMENTS = 16  # in one direction: more than a greeting
_MOST_SOCKETS = 4_096


class Pair(NamedTuple):
    """Both sockets of a connection; `quiet_ms` is the age of its last data.

    `unread`: whether data lie in the receive queue of each.
    """

    inodes: tuple[int, int]
    addresses: tuple[str, str]
    quiet_ms: int
    unread: tuple[bool, bool] = (False, False)


def pairs_of(messages: list[bytes]) -> list[Pair]:
    """Return the connections that have carried data, of which the dump has both sockets.

    Empty where there are too many of them: this is no host of one job.
    """
    fields = messages_from(messages).fields
    used = (fields["state"] == ESTABLISHED) & (fields["inode"] != 0)
    used &= np.maximum(fields["data_segs_in"], fields["data_segs_out"]) >= _LEAST_SEGMENTS
    places = np.flatnonzero(used).tolist()
    if len(places) > _MOST_SOCKETS:
        return []
    samples = (decode(messages[place]) for place in places)
    by_addresses = {_addresses(one): one for one in samples if one is not None}
    found = []
    for (local, remote), one in by_addresses.items():
        other = by_addresses.get((remote, local))
        if other is not None and local < remote:
            quiet_ms = min(_quiet_ms(one), _quiet_ms(other))
            unread = one.rqueue > 0, other.rqueue > 0
            found.append(Pair((one.inode, other.inode), (local, remote), quiet_ms, unread))
    return found


def _addresses(one: TcpSample) -> tuple[str, str]:
    return (
        endpoint_text(one.local_address, one.local_port),
        endpoint_text(one.remote_address, one.remote_port),
    )


def _quiet_ms(one: TcpSample) -> int:
    return min(one.info.last_data_sent_ms, one.info.last_data_recv_ms)
