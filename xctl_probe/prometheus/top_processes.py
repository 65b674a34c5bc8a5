"""The few processes that have series of their own: those that did the most lately."""

from __future__ import annotations

from collections.abc import Mapping

from xctl_probe.events import Process

_KEPT = 0.98  # of the sum, from interval to interval: half of it in 34 intervals
_RANKED_EACH = 4  # candidates for each place
_AHEAD = 2  # times the sum of the last one: places do not change hands at every interval

_Key = tuple[int, int]  # pid and start


class TopProcesses:
    """The `most` processes with the largest sums, in which older intervals count less."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sums: dict[_Key, float] = {}
        self._places: set[_Key] = set()

    def __contains__(self, process: Process) -> bool:
        return (process.pid, process.start_ticks) in self._places

    def rank(self, amounts: Mapping[_Key, int]) -> None:
        """Rank by one more interval: what each process did in it."""
        sums = {key: total * _KEPT for key, total in self._sums.items()}
        for key, amount in amounts.items():
            sums[key] = sums.get(key, 0.0) + amount
        ranked = sorted(sums, key=sums.__getitem__, reverse=True)
        self._sums = {
            key: sums[key] for key in ranked[: self._most * _RANKED_EACH] if sums[key] >= 1
        }
        self._places &= self._sums.keys()
        for key in ranked[: self._most]:
            if key in self._places or key not in self._sums:
                continue
            if len(self._places) >= self._most:
                last = min(self._places, key=sums.__getitem__)
                if sums[key] < _AHEAD * sums[last]:
                    return
                self._places.remove(last)
            self._places.add(key)
