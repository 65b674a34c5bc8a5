"""Whether the peer of a wait answers the same process on other connections.

A process with an event loop that is connected to one peer several times, as a worker to its
scheduler, may have sent last on a connection that awaits nothing.  Where the peer goes on to answer
its other connections, it is not known to be late on this one.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# A peer that has answered so lately will be asked again soon.  Also in bpf/include/sock_iter.bpf.h.
ANSWERS_APART_NS = 5_000_000_000
_KEPT = 16  # connections of a key: those that got data last


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

    def last_ns(self, key: Key, connection: int, without: Collection[int] = ()) -> int:
        """Return when the peer has last answered on another connection; 0: never."""
        heard = self._heard.get(key, {})
        others = (at_ns for one, at_ns in heard.items() if one != connection and one not in without)
        return max(others, default=0)
