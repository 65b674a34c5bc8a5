"""Which source to take: the best one that works, or the one that was asked for."""

from __future__ import annotations

from collections.abc import Callable

from xctl_probe.config import Backend, Settings
from xctl_probe.errors import SourceUnavailable
from xctl_probe.events import Source
from xctl_probe.linux.addresses import InterfaceByAddress

Opener = Callable[[Settings], Source]


def open_source(settings: Settings) -> tuple[Source, str]:
    """The source in use, and a line that says what it sees and why none better was taken.

    Raises SourceUnavailable when the one that was asked for, or every one, cannot work.
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
    # Each is imported only where it is tried: nobody pays for the others (1 MB each).
    from xctl_probe.ebpf.source import KernelSource  # noqa: PLC0415

    return KernelSource(
        stall_ns=settings.stall_ns,
        attach=settings.attach,
        ignored_peers=settings.ignored_peers,
        log=settings.log,
    )


def _bcc(settings: Settings) -> Source:
    from xctl_probe.bcc.source import BccSource  # noqa: PLC0415 - as above

    return BccSource(
        stall_ns=settings.stall_ns, ignored_peers=settings.ignored_peers, log=settings.log
    )


def _sampler(settings: Settings) -> Source:
    from xctl_probe.fallback.sampler import Sampler  # noqa: PLC0415 - as above

    return Sampler(
        InterfaceByAddress(),
        stall_ns=settings.stall_ns,
        interval_ns=settings.interval_ns,
        ignored_peers=settings.ignored_peers,
        sock_diag=settings.sock_diag,
    )


_OPENERS: dict[Backend, Opener] = {
    Backend.EBPF: _ebpf,
    Backend.BCC: _bcc,
    Backend.SAMPLER: _sampler,
}
