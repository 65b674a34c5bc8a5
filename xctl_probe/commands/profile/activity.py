"""What a thread does at one moment, or the process."""

from __future__ import annotations

from enum import StrEnum


class Activity(StrEnum):
    """What a process does at one moment; the first that one of its threads does counts."""

    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"
    NETWORK = "network"
    STOPPED = "stopped"  # by a signal, a debugger or its cgroup
    UNKNOWN = "unknown"  # it waits, and what for is not readable
    SLEEP = "sleep"
