"""Selection of the source: the best one that works, or the one of `--backend`."""

from __future__ import annotations

from collections.abc import Callable

from xctl_probe.config import Backend, Settings
from xctl_probe.errors import SourceUnavailable, lacks_library
from xctl_probe.events import Source
from xctl_probe.linux.addresses import InterfaceByAddress

Opener = Callable[[Settings], Source]


def open_source(settings: Settings) -> tuple[Source, str]:
    """Open a source; return it with the text of the start line.

    The text has the reasons why no better source works.  Raises SourceUnavailable when the selected
    source, or every source, does not work.
    """
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


def _ebpf(settings: Settings) -> Source:
    # Each source is imported only when it is tried: an import takes 1 MB.
    from xctl_probe.ebpf.source import KernelSource  # noqa: PLC0415

    return KernelSource(
        stall_ns=settings.stall_ns,
        reply_ns=settings.reply_ns,
        attach=settings.attach,
        ignored_peers=settings.ignored_peers,
        report_probable=settings.report_probable,
        proc_share=settings.proc_share,
        log=settings.log,
    )


def _bcc(settings: Settings) -> Source:
    from xctl_probe.bcc.source import BccSource  # noqa: PLC0415 - as above

    return BccSource(
        stall_ns=settings.stall_ns,
        reply_ns=settings.reply_ns,
        ignored_peers=settings.ignored_peers,
        report_probable=settings.report_probable,
        proc_share=settings.proc_share,
        log=settings.log,
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
        report_probable=settings.report_probable,
        proc_share=settings.proc_share,
        sock_diag=settings.sock_diag,
    )


_OPENERS: dict[Backend, Opener] = {
    Backend.EBPF: _ebpf,
    Backend.BCC: _bcc,
    Backend.SAMPLER: _sampler,
}
