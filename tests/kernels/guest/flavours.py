"""How to start the probe in each flavour, and how exact its records have to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flavour:
    """`late_ms`: by how much an ended stall's length may be off, under emulation.

    `bytes_tolerance` is a share of the bytes.  `sees_rare` tells whether it sees what leaves no
    trace in a live socket: refused connects, resets, UDP bytes.  `start_s` is how long a start
    may take.
    """

    name: str
    options: tuple[str, ...]
    user: str
    bytes_tolerance: float
    late_ms: int
    sees_rare: bool
    start_s: int = 60


def flavour(name: str) -> Flavour:
    """The flavour of this name; "proc" is the sampler, which must need no privilege."""
    if name == "proc":
        # An interval late: it only looks once in each.
        return Flavour(name, ("--backend", "proc"), "unprivileged", 0.01, 900, sees_rare=False)
    if name == "bcc":
        options = ("--backend", "bcc")
        return Flavour(name, options, "root", 0.0, 200, sees_rare=True, start_s=240)
    options = ("--backend", "ebpf", "--attach", name)
    return Flavour(name, options, "root", 0.0, 200, sees_rare=True)
