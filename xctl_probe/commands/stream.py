"""The command without a subcommand: the source that the options ask for, and all that receives."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from xctl_probe.config.choices import Backend, ConcreteFormat, Format
from xctl_probe.config.settings import Settings
from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.events import Source
from xctl_probe.exporters.base import Exporter, Receiver
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.origin import this_host, with_origin
from xctl_probe.exporters.stdout import Writer
from xctl_probe.exporters.text import to_coloured_text, to_text
from xctl_probe.linux.systemd import Notifier
from xctl_probe.pipeline import epoch_ms, stream
from xctl_probe.sources.privileges import (
    features_of,
    folders_of,
    give_up_loading,
    give_up_or_report,
    held,
    shortcoming,
)
from xctl_probe.sources.select import open_source, with_packets, with_protocols
from xctl_probe.status.intervals import Intervals
from xctl_probe.status.monitor import Monitor
from xctl_probe.status.service import Service
from xctl_probe.stderr import Diagnostics
from xctl_probe.version import installed_version

if TYPE_CHECKING:
    from xctl_probe.otlp.exporter import OtlpExporter
    from xctl_probe.prometheus.collector import Collector
    from xctl_probe.prometheus.endpoint import Endpoint
    from xctl_probe.prometheus.textfile import TextFile
    from xctl_probe.recordings.writer import Recorder

_LAST_RECORDS_S = 0.5  # for a recording whose disk is slow
_LAST_ANSWERS_S = 0.1  # for the thread that serves metrics
_LAST_MESSAGES_S = 0.5  # for a receiver of OTLP that is slow


def run(settings: Settings, stdout: int, diagnostics: Diagnostics, form: ConcreteFormat) -> None:
    """Stream until the duration is over, a signal comes, or the reader is gone.

    Raises ProbeError where no source works, UsageError where an option cannot be served.
    """
    line = with_origin(to_line, this_host(settings.host))
    if sys.__stdout__ is None:  # as the shell's >&- leaves it
        msg = "stdout is closed, and there the records go; >/dev/null drops them"
        raise ProbeError(msg)
    # Before privileges are given up: it opens a terminal or pipe again, also of another user.
    writer = Writer(stdout, line if form is Format.NDJSON else _exporter(form, stdout), epoch_ms)
    give_up_or_report(diagnostics.report, features_of(settings), folders_of(settings))
    with ExitStack() as stack:
        stack.callback(writer.close)
        source, choice = open_source(settings)
        stack.callback(source.close)
        source, unseen = with_protocols(source, settings)
        stack.callback(source.close)
        source, uncounted = with_packets(source, settings, diagnostics.report)
        stack.callback(source.close)
        if source.name == Backend.EBPF:
            with suppress(OSError):  # reported above
                give_up_loading()
        receivers: list[Receiver] = []
        if settings.record is not None:
            receivers.append(_recorder(settings, diagnostics, line, stack))
        if settings.prometheus_file is not None:
            receivers.append(_text_file(settings, source, diagnostics, stack))
        served = None
        if settings.prometheus is not None:
            endpoint = _endpoint(settings, source, stack)
            receivers.append(endpoint)
            served = endpoint.description
        if settings.otlp is not None:
            receivers.append(_otlp(settings, source, diagnostics, stack))
        started = "; ".join(filter(None, (choice, unseen, uncounted, served, shortcoming(held()))))
        service = _service(settings, source, writer, started, diagnostics)
        stack.callback(service.close)
        diagnostics.report(started)
        stream(settings, source, writer, stdout, receivers, service)


def _service(
    settings: Settings, source: Source, writer: Writer, started: str, diagnostics: Diagnostics
) -> Service:
    """Return what answers `status`, and notifies systemd where it started the probe."""
    notifier = Notifier(os.environ, os.getpid())
    if notifier.watchdog_ns is not None and notifier.watchdog_ns < 2 * settings.interval_ns:
        diagnostics.report(
            f"WatchdogSec={notifier.watchdog_ns / 1e9:g} would restart a probe with --interval "
            f"{settings.interval_ns / 1e9:g}: give it at least twice the interval"
        )
    intervals = Intervals(settings.interval_ns)
    monitor = Monitor(source, started, writer, intervals, notifier)
    return Service(monitor, settings.status_dir, settings.log)


def _recorder(
    settings: Settings, diagnostics: Diagnostics, line: Exporter, stack: ExitStack
) -> Recorder:
    from xctl_probe.recordings.writer import Recorder  # noqa: PLC0415 - most runs do without

    assert settings.record is not None
    recorder = Recorder(settings.record, settings.record_limits, diagnostics.report, line)
    stack.callback(recorder.close, _LAST_RECORDS_S)
    return recorder


def _text_file(
    settings: Settings, source: Source, diagnostics: Diagnostics, stack: ExitStack
) -> TextFile:
    from xctl_probe.prometheus.textfile import TextFile  # noqa: PLC0415 - as above

    assert settings.prometheus_file is not None
    collector = _collector(settings, source)
    text_file = TextFile(settings.prometheus_file, collector, diagnostics.report)
    stack.callback(text_file.close, _LAST_RECORDS_S)
    return text_file


def _endpoint(settings: Settings, source: Source, stack: ExitStack) -> Endpoint:
    from xctl_probe.prometheus.endpoint import Endpoint  # noqa: PLC0415 - as above

    assert settings.prometheus is not None
    collector = _collector(settings, source)
    endpoint = Endpoint(settings.prometheus, collector, settings.interval_ns)
    stack.callback(endpoint.close, _LAST_ANSWERS_S)
    return endpoint


def _otlp(
    settings: Settings, source: Source, diagnostics: Diagnostics, stack: ExitStack
) -> OtlpExporter:
    try:
        from xctl_probe.otlp.exporter import About, OtlpExporter  # noqa: PLC0415 - as above
    except ImportError as error:
        raise UsageError(
            f"--otlp: needs opentelemetry-proto ({error}); pip install 'xctl-probe-network[otlp]'"
        ) from None

    assert settings.otlp is not None
    exporter = OtlpExporter(
        settings.otlp,
        About(this_host(settings.host), installed_version(), source.name),
        settings.interval_ns,
        diagnostics.report,
        metrics_s=settings.otlp_s,
        metrics_only=settings.otlp_metrics_only,
    )
    stack.callback(exporter.close, _LAST_MESSAGES_S)
    return exporter


def _collector(settings: Settings, source: Source) -> Collector:
    from xctl_probe.prometheus.collector import Collector  # noqa: PLC0415 - as above

    info = (installed_version() or "", source.name)
    pids = settings.prometheus_pids
    return Collector(settings.interval_ns, info, pids, began_ms=epoch_ms())


def _exporter(form: ConcreteFormat, stdout: int) -> Exporter:
    match form:
        case Format.NDJSON:
            return to_line
        case Format.TEXT:
            # https://no-color.org: any value but the empty one switches it off.
            coloured = os.isatty(stdout) and not os.environ.get("NO_COLOR")
            return to_coloured_text if coloured else to_text
