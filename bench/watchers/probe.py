"""The probe itself, by each of its sources."""

from __future__ import annotations

import re
import sys
from functools import partial

from bench.place import as_anybody
from bench.watchers import Watcher

COMMAND = (sys.executable, "-m", "xctl_probe")
_LOST = re.compile(rb'"value":"PROBE_LOST:(\d+)"')
_VARIANT = re.compile(rb": source ebpf \((\w+)")


def command(*options: str, privileged: bool = True) -> list[str]:
    """The probe as a consumer starts it, and with loopback, for the traffic is there."""
    return [*([] if privileged else as_anybody()), *COMMAND, "--loopback", *options]


def lost(printed: bytes) -> int:
    """Return the number of dropped events that the probe reported."""
    return sum(int(count) for count in _LOST.findall(printed))


def variant(printed: bytes) -> str:
    """Return the attach variant of the kernel source, by the line that it prints at its start."""
    found = _VARIANT.search(printed)
    assert found, printed
    return found[1].decode()


def _probe(name: str, what: str, *options: str, privileged: bool = True) -> Watcher:
    return Watcher(
        name,
        what,
        partial(command, *options, privileged=privileged),
        b": source ",
        lost,
        root=privileged,
        starts_within_s=300 if name == "bcc" else 60,
    )


PROC = _probe("proc", "the probe, sampler, without privileges", "--backend", "proc",
              privileged=False)  # fmt: skip
EBPF = _probe("ebpf", "the probe, kernel source, attached by", "--backend", "ebpf")
KPROBE, FENTRY = (
    _probe(name, f"the probe, ebpf attached by {name}", "--backend", "ebpf", "--attach", name)
    for name in ("kprobe", "fentry")
)
BCC = _probe(
    "bcc", "the probe, compiled by bcc, attached by kprobe", "--backend", "bcc", "--verbose"
)
