"""Room and work that many users share: who has little comes first, whoever asks for much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
L = TypeVar("L")


class Room(Generic[K]):
    """Room of a bounded size, in any unit.

    Each may have as much as is still free, so that one of them has at most a half, and there is
    always room for the next (dynamic thresholds, Choudhury and Hahne 1998).  None stands for what
    no user can cause: it may have all.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._taken: dict[K | None, int] = {}

    def take(self, who: K | None, count: int) -> bool:
        """Take room; False where this one has had his part."""
        before = 0 if who is None else self._taken.get(who, 0)
        if before + count > self._free:
            return False
        self.add(who, count)
        return True

    def add(self, who: K | None, count: int) -> None:
        """Take room that must be had: it may exceed the size."""
        self._taken[who] = self._taken.get(who, 0) + count
        self._free -= count

    def give_back(self, who: K | None, count: int) -> None:
        """Room that was taken before."""
        self._free += count
        left = self._taken[who] - count
        if left:
            self._taken[who] = left
        else:
            del self._taken[who]


def shares(asked: Mapping[K, int], room: int) -> dict[K, int]:
    """How much each gets of what he asked for, max-min fair: the least first, in full."""
    given: dict[K, int] = {}
    left = len(asked)
    for who, count in sorted(asked.items(), key=lambda item: item[1]):
        given[who] = min(count, room // left)
        room -= given[who]
        left -= 1
    return given


def choose(
    asked: Mapping[K, Mapping[L, Sequence[int]]], room: int, most_each: int, turn: int = 0
) -> tuple[list[int], dict[K, int]]:
    """Which numbers get one of `room` places, and how many of each user's get none.

    `asked` has numbers by user and process; a process gets `most_each` at most.  Of a process that
    gets less than it asked for, the first half of the places stays with the same numbers, and the
    other half goes round with `turn`.
    """
    wanted = {
        who: {process: min(len(numbers), most_each) for process, numbers in of.items()}
        for who, of in asked.items()
    }
    given = shares({who: sum(of.values()) for who, of in wanted.items()}, room)
    kept: list[int] = []
    refused: dict[K, int] = {}
    for who, places in given.items():
        for process, count in shares(wanted[who], places).items():
            numbers = asked[who][process]
            kept += _in_turn(numbers, count, turn)
            if len(numbers) > count:
                refused[who] = refused.get(who, 0) + len(numbers) - count
    kept.sort()
    return kept, refused


def _in_turn(numbers: Sequence[int], count: int, turn: int) -> list[int]:
    if count >= len(numbers):
        return list(numbers)
    steady = (count + 1) // 2
    first, rest = list(numbers[:steady]), list(numbers[steady:])
    start = turn * (count - steady) % len(rest)
    return first + (rest + rest)[start : start + count - steady]
