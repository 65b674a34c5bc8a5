"""Fair shares of bounded space and work among users: users with little come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
L = TypeVar("L")


class Room(Generic[K]):
    """Space of a bounded size, in any unit.

    Each user may have as much as is still free: one user at most a half, and there is always space
    for the next (dynamic thresholds, Choudhury and Hahne 1998).  None stands for entries that no
    user can cause; it has no limit.
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._taken: dict[K | None, int] = {}

    @property
    def used(self) -> int:
        """The space that is reserved."""
        return self._size - self._free

    def take(self, who: K | None, count: int) -> bool:
        """Reserve space; False where the share of this user is used up."""
        before = 0 if who is None else self._taken.get(who, 0)
        if before + count > self._free:
            return False
        self.add(who, count)
        return True

    def add(self, who: K | None, count: int) -> None:
        """Reserve space without a limit: the total may exceed the size."""
        self._taken[who] = self._taken.get(who, 0) + count
        self._free -= count

    def give_back(self, who: K | None, count: int) -> None:
        """Release reserved space."""
        self._free += count
        left = self._taken[who] - count
        if left:
            self._taken[who] = left
        else:
            del self._taken[who]


def shares(asked: Mapping[K, int], room: int) -> dict[K, int]:
    """Return the max-min fair share of each user: small requests are granted in full."""
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
    """Return the numbers that get one of `room` places, and by user how many get none.

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
