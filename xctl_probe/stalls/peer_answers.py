"""Whether the peer of a wait answers the same process on other connections.

A process with an event loop that is connected to one peer several times, as a worker to its
scheduler, may have sent last on a connection that awaits nothing.  Where the peer goes on to answer
its other connections, it is not known to be late on this one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


_KEPT = 2  # connections of a key: the last one, and the last one but for that


class PeerAnswers(Generic[Key]):
    """Answers to the processes that wait now; times are monotonic, in ns.

    A key is a process and its peer.
    """

    def __init__(self) -> None:
        self._heard: dict[Key, dict[int, int]] = {}  # when data has come, by connection

    @property
    def wanted(self) -> Iterable[Key]:
        """The keys whose answers are wanted."""
        return self._heard.keys()

    def want(self, keys: Iterable[Key]) -> None:
        """Forget all but these."""
        self._heard = {key: self._heard.get(key, {}) for key in keys}

    def note(self, key: Key, connection: int, at_ns: int) -> None:
        """Note that data has come on a connection, at this time."""
        heard = self._heard.get(key)
        if heard is None:
            return
        heard[connection] = max(at_ns, heard.get(connection, 0))
        if len(heard) > _KEPT:
            del heard[min(heard, key=heard.__getitem__)]

    def last_ns(self, key: Key, connection: int) -> int:
        """Return when the peer has last answered on another connection; 0: never."""
        heard = self._heard.get(key, {})
        return max((at_ns for one, at_ns in heard.items() if one != connection), default=0)
