"""Which series stay: what was used lately, and what belongs to a process that lives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

from xctl_probe.linux.procfs import read_process

AFTER_NS = 600 * 1_000_000_000  # ten minutes: longer than Prometheus may be away between scrapes
_KEPT = 8  # processes of a group

ProcessKey = tuple[int, int]  # pid and start
K = TypeVar("K")


def is_alive(key: ProcessKey) -> bool:
    """Return whether a process of this pid and start time exists."""
    found = read_process(key[0])
    return found is not None and found.start_ticks == key[1]


def keep(processes: list[ProcessKey], key: ProcessKey) -> None:
    """Note a process among those of a group; of many, those that were new last are kept."""
    if key not in processes:
        if len(processes) >= _KEPT:
            del processes[0]
        processes.append(key)


class LastUsed(Generic[K]):
    """Keys with the time of their last use (monotonic)."""

    def __init__(self) -> None:
        self._when_ns: OrderedDict[K, int] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._when_ns)

    def note(self, key: K, now_ns: int) -> None:
        """Note that a key is used."""
        self._when_ns[key] = now_ns
        self._when_ns.move_to_end(key)

    def forget(self, key: K) -> None:
        """Remove a key, which may be missing."""
        self._when_ns.pop(key, None)

    def unused(self, now_ns: int, most: int) -> list[K]:
        """Return, once each, at most so many keys that were not used for ten minutes."""
        found = list(islice(self._expired(now_ns), most))
        for key in found:
            del self._when_ns[key]
        return found

    def _expired(self, now_ns: int) -> Iterator[K]:
        for key, when_ns in self._when_ns.items():
            if now_ns - when_ns < AFTER_NS:
                return
            yield key
