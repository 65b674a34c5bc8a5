"""Traffic that is measured: each workload has its own sender and receiver, on loopback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: `rate` in the workload's unit per second; None where unknown."""

    rate: float
    p50_us: float | None = None
    p99_us: float | None = None
    calls: int | None = None  # sends and receives that were made
    seconds: float = 0.0
    cpu_seconds: float | None = None  # of all processes that made the calls

    @property
    def rate_per_cpu(self) -> float | None:
        """Operations per second of CPU: the rate on otherwise idle cores."""
        return self.rate * self.seconds / self.cpu_seconds if self.cpu_seconds else None


class Running(Protocol):
    """A workload whose servers are up."""

    def run(self, seconds: float) -> Outcome:
        """Traffic for about this long."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of traffic; `start` brings up what serves it, for as long as the context lasts."""

    name: str
    what: str
    unit: str
    start: Callable[[], AbstractContextManager[Running]]
    needs: tuple[str, ...] = ()  # programs
    calls_ns: bool = False  # one core, nothing sleeps: the time of a call shows what was added
