"""Mutations without a coverage guide: the quick share of the fuzzing, the same on every run."""

from __future__ import annotations

import random
from collections.abc import Iterator

MOST_BYTES = 1 << 14
_EDGES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"9" * 30,
    b"\xff" * 8,
)


def mutations(seeds: list[bytes], count: int, salt: str) -> Iterator[bytes]:
    """`count` inputs: truncated, overwritten, spliced, repeated and random ones."""
    chance = random.Random(salt)
    yield from (b"", b"\0" * 4_096, b"\xff" * 4_096)
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 3, 5, 9))):
            _ONE[chance.randrange(len(_ONE))](chance, data, seeds)
        yield bytes(data[:MOST_BYTES])


def _place(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _truncate(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    del data[_place(chance, data) :]


def _remove(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    at = _place(chance, data)
    del data[at : at + chance.randrange(1, 33)]


def _overwrite(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    at, edge = _place(chance, data), chance.choice(_EDGES)
    data[at : at + len(edge)] = edge


def _flip(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _noise(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    at = _place(chance, data)
    data[at : at + 8] = chance.randbytes(chance.randrange(9))


def _repeat(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    at, end = sorted((_place(chance, data), _place(chance, data)))
    if len(data) + end - at < MOST_BYTES:
        data[at:at] = data[at:end]


def _splice(chance: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    other = chance.choice(seeds)
    data[_place(chance, data) :] = other[chance.randrange(len(other) + 1) :]


_ONE = (_truncate, _remove, _overwrite, _flip, _noise, _repeat, _splice)
