"""The stalls of this moment, of the namespaces that may be entered, and their peers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

from xctl_probe.commands.why.equals.sample import SHARE, owners_of
from xctl_probe.commands.why.namespaces import inside
from xctl_probe.config.choices import Backend
from xctl_probe.config.settings import Settings
from xctl_probe.events import Direction, Source, Stall
from xctl_probe.linux.host_sockets import HostSockets, read_namespaces
from xctl_probe.linux.procfs import namespace_inode
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.linux.thread_states import ThreadStates
from xctl_probe.metrics import Metric
from xctl_probe.sources.privileges import WHY, held
from xctl_probe.sources.select import open_source

_SAMPLES, _APART_S = 4, 0.12  # of the sampler: an event loop that is busy shows in three
_INTERVALS, _INTERVAL_S = 2, 0.5  # of the kernel source
_MOST_NAMESPACES = 16
_MOST_ENTERED = 16  # rounds of a search for peer sockets; each enters a few namespaces


class _Place(NamedTuple):
    """A source, and the namespace that it samples with a process that lives there."""

    source: Source
    netns: int
    pid: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """Stalls that are ongoing, with their peers where these are on this host.

    `source` is what they are from; `notes` name what could not be observed.  `own_only`: other
    users' processes could not be.
    """

    stalls: list[Stall]
    source: str
    notes: tuple[str, ...] = ()
    own_only: bool = False


def sample(settings: Settings) -> Sampled:
    """Take the samples of half a second, or two intervals of the kernel source.

    `--backend auto` is the sampler: it finds waits that began before it, and starts at once.
    """
    settings = replace(settings, proc_share=max(settings.proc_share, SHARE))
    if settings.backend is Backend.AUTO:
        settings = replace(settings, backend=Backend.SAMPLER)
    with ExitStack() as stack:
        places, notes = _open(settings)
        for place in places:
            stack.callback(place.source.close)
        if settings.backend is Backend.SAMPLER:
            _poll(places, _SAMPLES)
            found = [(place, stall) for place in places for stall in _drained(place)]
        else:
            for _ in range(_INTERVALS):
                _poll_for(places[0].source, _INTERVAL_S)
                found = [(places[0], stall) for stall in _drained(places[0])]
        barred = barred_others(settings.backend, held())
        notes += barred
        return Sampled(_with_peers(found), places[0].source.name, tuple(notes), bool(barred))


def with_running(sampled: Iterable[Stall], running: Iterable[Stall]) -> list[Stall]:
    """Return the stalls of both; of one wait that of the probe, which has seen more of it.

    But for the peer, where the probe has not found one: it may search its own namespace only.
    """
    found = {(stall.socket.inode, stall.direction): stall for stall in sampled}
    for stall in running:
        key = stall.socket.inode, stall.direction
        if key not in found or not stall.probable:
            found[key] = _with_peer(stall, found.get(key))
    return list(found.values())


def _with_peer(stall: Stall, sampled: Stall | None) -> Stall:
    if sampled is None or stall.peer is not None:
        return stall
    activity = stall.peer_activity or sampled.peer_activity
    return replace(stall, peer=sampled.peer, peer_activity=activity)


def barred_others(backend: Backend, having: frozenset[str]) -> list[str]:
    """Return the note on other users' processes where these capabilities do not suffice for them.

    Empty where they do, and for the kernel source, which sees the waits of all processes.
    """
    lacks = WHY.lacks(having)
    if backend is not Backend.SAMPLER or not lacks:
        return []
    remedy = "run as root (sudo xctl-probe-network blame)"
    if not os.geteuid():
        remedy = f"this root lacks {' and '.join(lacks)}, as in a container: run it on the host"
    return [f"what other users' processes wait for is not visible: {remedy}"]


def _open(settings: Settings) -> tuple[list[_Place], list[str]]:
    """Open the source; the sampler once for each namespace that may be entered."""
    # Whatever the stream is to measure: the answer is made of stalls alone.
    wanted = replace(settings.wanted, metrics=frozenset((Metric.STALLS,)))
    settings = replace(settings, wanted=wanted)
    source, _ = open_source(settings)
    own = namespace_inode("net")
    places = [_Place(source, own, os.getpid())]
    if settings.backend is not Backend.SAMPLER:
        return places, []
    others = {netns: pid for netns, pid in read_namespaces().items() if netns != own}
    for netns, pid in list(others.items())[:_MOST_NAMESPACES]:
        other = inside(pid, lambda: open_source(settings)[0])
        if other is not None:
            places.append(_Place(other, netns, pid))
    notes = []
    if left := len(others) - len(places) + 1:
        why = "only root may enter them" if os.geteuid() else "they could not be entered"
        namespaces = "another network namespace" if left == 1 else f"{left} network namespaces"
        notes.append(f"waits in {namespaces} are not seen: {why}")
    return places, notes


def _poll(places: list[_Place], count: int) -> None:
    for _ in range(count):
        for place in places:
            place.source.poll(time.monotonic_ns())
        time.sleep(_APART_S)


def _poll_for(source: Source, seconds: float) -> None:
    until_ns = time.monotonic_ns() + round(seconds * 1e9)
    while (now_ns := time.monotonic_ns()) < until_ns:
        due_ns = source.poll(now_ns)
        time.sleep(min(max(due_ns - now_ns, 10_000_000), until_ns - now_ns) / 1e9)


def _drained(place: _Place) -> list[Stall]:
    events = place.source.drain(time.monotonic_ns()).events
    return [event for event in events if isinstance(event, Stall) and event.ongoing]


def _with_peers(found: list[tuple[_Place, Stall]]) -> list[Stall]:
    """Return the stalls with the peers that the source has not named yet."""
    host, states = HostSockets(), ThreadStates()
    try:
        seen = {
            number: _peer_socket(host, place, stall)
            for number, (place, stall) in enumerate(found)
            if stall.peer is None and _has_peer(stall)
        }
    finally:
        host.close()
    owners = owners_of({one.inode for one in seen.values() if one and one.inode})
    stalls = []
    for number, (_, stall) in enumerate(found):
        peer_socket = seen.get(number)
        peer = owners.get(peer_socket.inode) if peer_socket else None
        if peer is not None:
            stalls.append(replace(stall, peer=peer, peer_activity=states.of(peer.pid)))
        else:
            stalls.append(stall)
    return stalls


def _peer_socket(host: HostSockets, place: _Place, stall: Stall) -> SocketSnapshot | None:
    tried: set[int] = set()
    for _ in range(_MOST_ENTERED):
        before = len(tried)
        host.begin()
        found = host.peer_socket(stall.socket, place.netns, place.pid, tried)
        host.leave()
        if found is not None or len(tried) == before:
            return found
    return None


def _has_peer(stall: Stall) -> bool:
    return stall.socket.protocol == "tcp" and stall.direction is not Direction.CONNECT
