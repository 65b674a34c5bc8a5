"""Selection of the source: the best one that works, or the one of `--backend`."""

from __future__ import annotations

from collections.abc import Callable

from xctl_probe.config.choices import Backend
from xctl_probe.config.settings import Settings
from xctl_probe.errors import SourceUnavailable, lacks_library
from xctl_probe.events import Source
from xctl_probe.linux.addresses import InterfaceByAddress
from xctl_probe.linux.rdma_ports import port_names
from xctl_probe.metrics import OF_SOURCES, Metric

Opener = Callable[[Settings], Source]


def open_source(settings: Settings) -> tuple[Source, str]:
    """Open a source; return it with the text of the start line.

    Where no metric needs one, it is a source without events.  The text has the reasons why no
    better source works.  Raises SourceUnavailable when the selected source, or every source, does
    not work.
    """
    if not settings.wanted.metrics & OF_SOURCES:
        from xctl_probe.sources.unneeded import Unneeded  # noqa: PLC0415 - rare

        unneeded = Unneeded()
        text = f"source {unneeded.name} ({unneeded.description})"
        if Metric.RDMA in settings.wanted.metrics and not port_names():
            text += "; no RDMA port on this host"
        return unneeded, text
    if settings.backend is not Backend.AUTO:
        try:
            source = _OPENERS[settings.backend](settings)
        except SourceUnavailable as error:
            raise SourceUnavailable(f"--backend {settings.backend}: {error}") from error
        return source, f"source {source.name} ({source.description})"
    refused = []
    for backend in (Backend.EBPF, Backend.BCC, Backend.SAMPLER):
        try:
            source = _OPENERS[backend](settings)
        except SourceUnavailable as error:
            refused.append(f"not {backend}: {error}")
        else:
            return source, "; ".join([f"source {source.name} ({source.description})", *refused])
    raise SourceUnavailable("; ".join(refused))


def with_protocols(source: Source, settings: Settings) -> tuple[Source, str | None]:
    """Return the source with the protocols of sockets, where that is asked for and can be seen.

    The text is for the start line: why it cannot be seen.
    """
    if Metric.PROTOCOLS not in settings.wanted.metrics:
        return source, None
    from xctl_probe.sources.protocols import SourceWithProtocols  # noqa: PLC0415 - as below

    try:
        return SourceWithProtocols(source, settings.log), None
    except SourceUnavailable as error:
        return source, f"no protocols: {error}"


def with_packets(
    source: Source, settings: Settings, report: Callable[[str], None]
) -> tuple[Source, str | None]:
    """Return the source with the packets of interfaces, where those are asked for and counted.

    The text is for the start line: why they are not.  `report` receives why one interface refuses.
    """
    if Metric.PACKETS not in settings.wanted.metrics:
        return source, None
    from xctl_probe.sources.packets import SourceWithPackets  # noqa: PLC0415 - as below

    wanted, hook = settings.wanted, settings.packets_hook
    try:
        return SourceWithPackets(source, wanted, hook, report, settings.log), None
    except SourceUnavailable as error:
        return source, f"no packets: {error}"


def _ebpf(settings: Settings) -> Source:
    # Each source is imported only when it is tried: an import takes 1 MB.
    from xctl_probe.ebpf.source import KernelSource  # noqa: PLC0415

    return KernelSource(
        stall_ns=settings.stall_ns,
        reply_ns=settings.reply_ns,
        attach=settings.attach,
        ignored_peers=settings.ignored_peers,
        proc_share=settings.proc_share,
        log=settings.log,
        metrics=settings.wanted.metrics,
    )


def _bcc(settings: Settings) -> Source:
    from xctl_probe.bcc.source import BccSource  # noqa: PLC0415 - as above

    return BccSource(
        stall_ns=settings.stall_ns,
        reply_ns=settings.reply_ns,
        ignored_peers=settings.ignored_peers,
        proc_share=settings.proc_share,
        log=settings.log,
        metrics=settings.wanted.metrics,
    )


def _sampler(settings: Settings) -> Source:
    try:
        from xctl_probe.fallback.sampler import Sampler  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:  # no other source needs it
        raise SourceUnavailable(lacks_library(error)) from error

    return Sampler(
        InterfaceByAddress(),
        stall_ns=settings.stall_ns,
        reply_ns=settings.reply_ns,
        interval_ns=settings.interval_ns,
        ignored_peers=settings.ignored_peers,
        proc_share=settings.proc_share,
        sock_diag=settings.sock_diag,
        stalls=Metric.STALLS in settings.wanted.metrics,
    )


_OPENERS: dict[Backend, Opener] = {
    Backend.EBPF: _ebpf,
    Backend.BCC: _bcc,
    Backend.SAMPLER: _sampler,
}
