"""The kernel source by way of bcc: the same records as the compiled objects, read the same way."""

from __future__ import annotations

from collections.abc import Callable

from xctl_probe.bcc import find_package, kernel, kernel_headers, program
from xctl_probe.ebpf.loader import MapSizes
from xctl_probe.ebpf.source import RunningSource
from xctl_probe.stalls.ignored_peers import IgnoredPeers


class BccSource(RunningSource):
    """Compiled on this host; needs root, the distribution's bcc, and the kernel's headers.

    `stall_ns` is the least length of a stall, `ignored_peers` has the peers whose answers take
    their
    time; `log` takes what bcc and its compiler have to
    say.  Raises SourceUnavailable with the reason and the remedy, and has imported bcc only
    where everything else is there.
    """

    name = "bcc"

    def __init__(
        self,
        *,
        stall_ns: int = 100_000_000,
        ignored_peers: IgnoredPeers | None = None,
        sizes: MapSizes | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        kernel.require_privileges()
        kernel.require_probes()
        folder = find_package.find()
        declared = kernel_headers.declared(kernel_headers.find())
        bcc = find_package.load(folder)
        running = program.start(bcc, declared, stall_ns, sizes or MapSizes(), log)
        super().__init__(running, stall_ns, ignored_peers)

    @property
    def description(self) -> str:
        """What it shows and what not, for the line at start."""
        return f"compiled for this kernel: TCP and UDP by process, exact{self._refused}"
