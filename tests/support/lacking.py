"""Kernels that lack something, simulated for the processes of a test: none such can be had here.

What is hidden or refused is the kernel's own answer, not a switch of the probe.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.namespace import Namespace
from support.require import require_tools

_COMPILER = "clang-14"
# A mount namespace in which the directory is empty.
_HIDE = 'mount -t tmpfs -o ro nothing "$1" && shift && exec "$@"'

BTF = "/sys/kernel/btf"
PROBE_TYPES = "/sys/bus/event_source/devices"
TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug")


class Lacking:
    """A network namespace, as seen by processes that find a lesser kernel or host."""

    def __init__(self, inner: Namespace, *prefix: Sequence[str]) -> None:
        self._inner = inner
        self._prefix = [word for words in prefix for word in words]

    def command(self, user: str = "unprivileged") -> list[str]:
        """As a namespace's."""
        return [*self._inner.command(user), *self._prefix]


def hidden(*folders: str) -> list[str]:
    """The words before a command that sees these folders empty; needs root."""
    words = ["unshare", "--mount"]
    for folder in folders:
        words += ["sh", "-c", _HIDE, "sh", folder]
    return words


def before_ring_buffers(folder: Path) -> list[str]:
    """The words before a command to which the kernel has no BPF ring buffer (5.8)."""
    require_tools(_COMPILER)
    library = folder / "before_5_8.so"
    source = Path(__file__).with_name("before_5_8.c")
    subprocess.run([_COMPILER, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return ["env", f"LD_PRELOAD={library}"]
