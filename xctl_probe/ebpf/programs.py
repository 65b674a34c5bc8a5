"""Protocols of loaded kernel programs, by libbpf or bcc."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from xctl_probe.figures import RingFigures


class Map(Protocol):
    """A map; keys and values are raw bytes."""

    def lookup(self, key: bytes, copies: int = 1) -> bytes | None:
        """Return the value or None; of a per-CPU map, `copies` values."""

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value.  Raises OSError."""

    def delete(self, key: bytes) -> None:
        """Delete the key, if it exists."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all items of a hash."""


@dataclass(frozen=True, slots=True)
class Handles:
    """Descriptors of loaded programs and maps by name, and the calls that read about them.

    `get_info` is bpf_obj_get_info_by_fd(), `lookup_batch` is bpf_map_lookup_batch() without its
    options, of whichever library.  `links` has the descriptor of a program's link, where one is.
    """

    programs: Mapping[str, int]
    links: Mapping[str, int]
    maps: Mapping[str, int]
    get_info: Callable[[int, Any, Any], object]
    lookup_batch: Callable[..., int]


class Programs(Protocol):
    """Programs that are attached until `close`."""

    def map(self, name: str, key_bytes: int, value_bytes: int) -> Map:
        """Return the map with this name in bpf/."""

    def per_cpu_sums(self, name: str, entries: int) -> list[int]:
        """Return a per-CPU array of 64-bit counters, added up over the CPUs."""

    def missed_runs(self) -> int:
        """Return how often a program did not run at its hook, as far as this kernel counts it."""

    def handles(self) -> Handles:
        """Return what figures about programs and maps are read from."""

    def close(self) -> None:
        """Detach.  Safe to call twice."""


class SocketIterator(Protocol):
    """Iterates all sockets, in the kernel."""

    def run(self) -> bytes:
        """Run the iterator; return its events as bytes."""


class EventQueue(Protocol):
    """Queue of rare kernel events (ring buffer, or BPF queue before 5.8)."""

    @property
    def fd(self) -> int | None:
        """Descriptor that is readable when there are events, None where there is none."""

    def records(self) -> Iterator[bytes]:
        """Yield the events since the last call, one or several at a time."""

    def use(self) -> RingFigures | None:
        """Return how much of the queue is used, None where it cannot be read."""

    def close(self) -> None:
        """Close the queue.  Safe to call twice."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Hooks by the kernel's names: attached ones, and optional ones that are not.

    `missing`: this kernel lacks the function or tracepoint, mostly because another one replaces it.
    `refused`: it exists, and the kernel refuses a program on it.
    """

    attached: tuple[str, ...]
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedPrograms:
    """Attached programs, and the readers of their events."""

    name: str  # of the attach variant
    programs: Programs
    queue: EventQueue
    collect_iter: SocketIterator
    waiters_iter: SocketIterator | None  # None: stalls are not measured
    hooks: Hooks
    rejected: tuple[str, ...] = ()  # better attach variants, and why they do not work here
    fields: Mapping[str, bool] = field(default_factory=dict)  # of structs that not all kernels have
