"""What a source needs of programs that run, whoever compiled and attached them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class Map(Protocol):
    """A map, read with raw bytes for key and value."""

    def lookup(self, key: bytes, copies: int = 1) -> bytes | None:
        """The value, or None; of a per-CPU map `copies` values on end."""

    def delete(self, key: bytes) -> None:
        """Forget the key, if it is there."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything in a hash."""


class Programs(Protocol):
    """Attached, until closed."""

    def map(self, name: str, key_bytes: int, value_bytes: int) -> Map:
        """A map by its name in bpf/."""

    def per_cpu_sums(self, name: str, entries: int) -> list[int]:
        """A per-CPU array of 64-bit counters, added up over the CPUs."""

    def missed_runs(self) -> int:
        """How often a program was due and did not run, as far as this kernel counts it."""

    def close(self) -> None:
        """Detach.  Safe to call twice."""


class SocketIterator(Protocol):
    """Goes over all sockets once, in the kernel."""

    def run(self) -> bytes:
        """Records on end."""


class EventQueue(Protocol):
    """Where the kernel tells what is rare."""

    @property
    def fd(self) -> int | None:
        """Readable when there is something, None where nothing can tell."""

    def records(self) -> Iterator[bytes]:
        """What has come since the last time."""

    def close(self) -> None:
        """Give it back.  Safe to call twice."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where programs are attached, by the kernel's names; the other two are not needed for all.

    `absent`: this kernel has no such function or tracepoint, most often because another one
    does its work.  `refused`: it is there, and the kernel takes no program on it.
    """

    attached: tuple[str, ...]
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedPrograms:
    """Programs that run, and the ways to read what they noted."""

    name: str  # of the way they are attached
    programs: Programs
    queue: EventQueue
    collect_iter: SocketIterator
    waiters_iter: SocketIterator
    hooks: Hooks
    rejected: tuple[str, ...] = ()  # better ways to attach, and why they do not work here
