"""The protocol of each socket, by its cookie, from samples of its messages.

Nothing of a sample is kept but the names that it stands for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from xctl_probe.events import App
from xctl_probe.protocols import tls
from xctl_probe.protocols.classify import (
    GRPC,
    NAMES,
    Certainty,
    Guess,
    classify,
    in_common,
    is_grpc,
)

UNKNOWN = "unknown"
_MOST_SOCKETS = 65_536  # open ones; the oldest are forgotten first
_MOST_CLOSED = 4_096  # whose last records are still to come

_PLAIN = {name: App(name) for name in NAMES}  # one value for all sockets


class Sample(NamedTuple):
    """The first bytes of a message of `length` bytes, or of what has come of it.

    `received`: the direction.  `from_start`: the stream begins with them.
    """

    cookie: int
    received: bool
    from_start: bool
    length: int
    payload: bytes


class _Undecided(NamedTuple):
    """What the first direction of a socket may be of."""

    received: bool
    guesses: tuple[Guess, ...]


class Names:
    """The names of sockets, and how many sockets have been named since the start."""

    def __init__(self) -> None:
        self._named: dict[int, App] = {}
        self._undecided: dict[int, _Undecided] = {}
        self._closed: deque[int] = deque()
        self.counts: Counter[str] = Counter()  # by protocol

    def app(self, cookie: int) -> App | None:
        """Return the protocol of a socket, None where that is not known."""
        return self._named.get(cookie)

    def note(self, sample: Sample) -> None:
        """Take one sample."""
        known = self._named.get(sample.cookie)
        if known is not None:
            if known.name == "http2" and is_grpc(sample.payload):
                self._rename(sample.cookie)
            return
        guesses = classify(sample.payload, sample.length)
        if sample.from_start and any(one.certainty is Certainty.SURE for one in guesses):
            self._name(sample.cookie, guesses[0].app, sample.payload)
        else:
            self._compare(sample, guesses)

    def closed(self, cookie: int) -> None:
        """Forget a socket, but not at once: records about it may still come."""
        self._undecided.pop(cookie, None)
        if cookie not in self._named:
            return
        self._closed.append(cookie)
        if len(self._closed) > _MOST_CLOSED:
            self._named.pop(self._closed.popleft(), None)

    def _compare(self, sample: Sample, guesses: Iterable[Guess]) -> None:
        """Name a socket whose two directions agree on one protocol."""
        before = self._undecided.pop(sample.cookie, None)
        if before is None or before.received == sample.received:
            self._undecided[sample.cookie] = _Undecided(sample.received, tuple(guesses))
            _shorten(self._undecided)
            return
        app = in_common(guesses, before.guesses)
        if app is None:
            self.counts[UNKNOWN] += 1
        else:
            self._name(sample.cookie, app, sample.payload)

    def _name(self, cookie: int, name: str, payload: bytes) -> None:
        app = _PLAIN[name]
        if name == "tls" and tls.is_client_hello(payload):
            hello = tls.read_hello(payload)
            if hello.sni or hello.alpn:
                app = App(name, hello.sni, hello.alpn)
        self._undecided.pop(cookie, None)
        self._named[cookie] = app
        self.counts[name] += 1
        _shorten(self._named)

    def _rename(self, cookie: int) -> None:
        self._named[cookie] = _PLAIN[GRPC]
        self.counts["http2"] -= 1
        self.counts[GRPC] += 1


def _shorten(entries: dict[int, App] | dict[int, _Undecided]) -> None:
    if len(entries) > _MOST_SOCKETS:
        del entries[next(iter(entries))]
