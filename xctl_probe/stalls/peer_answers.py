"""Whether the peer of a wait answers the same process on other connections.

A process with an event loop that is connected to one peer several times, as a worker to its
scheduler, may have sent last on a connection that awaits nothing.  Where the peer goes on to answer
its other connections, it is not known to be late on this one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Heard:
    connection: int  # that got data last
    at_ns: int
    other_ns: int = 0  # when any other one did


class PeerAnswers(Generic[Key]):
    """Answers to the processes that wait now; times are monotonic, in ns.

    A key is a process and its peer.
    """

    def __init__(self) -> None:
        self._heard: dict[Key, _Heard | None] = {}

    @property
    def wanted(self) -> Iterable[Key]:
        """The keys whose answers are wanted."""
        return self._heard.keys()

    def want(self, keys: Iterable[Key]) -> None:
        """Forget all but these."""
        self._heard = {key: self._heard.get(key) for key in keys}

    def note(self, key: Key, connection: int, at_ns: int) -> None:
        """Note that data has come on a connection, at this time or later."""
        if key not in self._heard:
            return
        heard = self._heard[key]
        if heard is None:
            self._heard[key] = _Heard(connection, at_ns)
        elif heard.connection == connection:
            heard.at_ns = at_ns
        else:
            self._heard[key] = _Heard(connection, at_ns, heard.at_ns)

    def last_ns(self, key: Key, connection: int) -> int:
        """Return since when at least the peer has answered on another connection; 0: never."""
        heard = self._heard.get(key)
        if heard is None:
            return 0
        return heard.other_ns if heard.connection == connection else heard.at_ns
