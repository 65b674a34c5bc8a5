"""A source with the packets of interfaces by protocol: `--metrics packets`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from xctl_probe.aggregate import Filter
from xctl_probe.ebpf.figures import read_programs
from xctl_probe.ebpf.packets import PacketCounters
from xctl_probe.ebpf.packets_hook import PacketsHook
from xctl_probe.events import Batch, PacketDelta, Source
from xctl_probe.figures import Reading
from xctl_probe.linux.links import Links
from xctl_probe.sources.around import Around


class SourceWithPackets(Around):
    """The events of `source`, and a PacketDelta for each interface that is reported.

    `report` receives a sentence for each interface that refuses.  Raises SourceUnavailable where
    the kernel refuses the programs.
    """

    def __init__(
        self,
        source: Source,
        wanted: Filter,
        hook: PacketsHook,
        report: Callable[[str], None],
        log: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(source)
        self._wanted = wanted
        self._report = report
        self._counters = PacketCounters(hook, log)
        self._links = Links(changes=False)
        self._follow()

    def drain(self, now_ns: int) -> Batch:
        """Return the events of the source, and the packets of each interface."""
        batch = self._source.drain(now_ns)
        packets = [PacketDelta(name, counts) for name, counts in self._counters.collect().items()]
        self._follow()
        return replace(batch, events=[*batch.events, *packets])

    def figures(self) -> Reading:
        """Read the figures of the source, and of these programs."""
        figures = yield from self._source.figures()
        maps, programs = yield from read_programs(self._counters.handles())
        return replace(figures, maps=figures.maps + maps, programs=figures.programs + programs)

    def close(self) -> None:
        """Detach everything.  Safe to call twice."""
        self._counters.close()
        self._links.close()
        self._source.close()

    def _follow(self) -> None:
        """Attach to interfaces that have come; a later call does it where that is not possible."""
        try:
            links = self._links.read()
        except OSError:
            return
        known = ((link.key, link.name) for link in links)
        for refusal in self._counters.follow(
            (key, name)
            for key, name in known
            if isinstance(key, int) and self._wanted.wants_traffic(name)
        ):
            self._report(refusal)
