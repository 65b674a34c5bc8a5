"""The kernel source through bcc: the same events as those of the compiled objects."""

from __future__ import annotations

from collections.abc import Callable

from xctl_probe.bcc import find_package, kernel, kernel_headers, program
from xctl_probe.ebpf.loader import MapSizes
from xctl_probe.ebpf.source import RunningSource
from xctl_probe.linux.budget import SHARE
from xctl_probe.metrics import DEFAULT, Metric
from xctl_probe.stalls.ignored_peers import IgnoredPeers


class BccSource(RunningSource):
    """Kernel source compiled on this host; needs root, bcc, and the kernel's headers.

    `stall_ns` is the stall length, `reply_ns` that of reply waits where it is longer;
    `ignored_peers` has the peers whose reply waits are excluded; `proc_share` is the part of a core
    for reads of /proc about owners and peers; `log` receives the messages of bcc and its compiler;
    programs that serve none of `metrics` are not loaded.  Raises SourceUnavailable with the reason
    and the remedy; bcc is imported only where everything else exists.
    """

    name = "bcc"

    def __init__(
        self,
        *,
        stall_ns: int = 100_000_000,
        reply_ns: int = 0,
        ignored_peers: IgnoredPeers | None = None,
        proc_share: float = SHARE,
        sizes: MapSizes | None = None,
        log: Callable[[str], None] | None = None,
        metrics: frozenset[Metric] = DEFAULT,
    ) -> None:
        kernel.require_privileges()
        kernel.require_probes()
        folder = find_package.find()
        declared = kernel_headers.declared(kernel_headers.find())
        bcc = find_package.load(folder)
        running = program.start(bcc, declared, stall_ns, sizes or MapSizes(), log, metrics)
        super().__init__(running, stall_ns, ignored_peers, proc_share, reply_ns, metrics=metrics)

    @property
    def description(self) -> str:
        """Text for the start line: what the source observes."""
        return f"compiled for this kernel: TCP and UDP by process, exact{self._refused}"
