"""The command line: options, subcommands, exit codes."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctl_probe.config import (
    ENV,
    OPTIONS,
    Backend,
    ConcreteFormat,
    Format,
    Option,
    Settings,
    check_stall_ms,
    read_file,
    unknown_variables,
)
from xctl_probe.errors import (
    ProbeError,
    UsageError,
    is_lack_of_threads,
    lacks_library,
    surroundings,
)
from xctl_probe.events import Source
from xctl_probe.exporters.base import Exporter, Receiver
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.origin import this_host, with_origin
from xctl_probe.exporters.stdout import Writer
from xctl_probe.exporters.text import to_coloured_text, to_text
from xctl_probe.linux.systemd import Notifier
from xctl_probe.pipeline import epoch_ms, stream
from xctl_probe.sources.privileges import (
    KERNEL,
    PROFILE,
    RECORDINGS,
    STATUS,
    WHY,
    WHY_ELSEWHERE,
    Feature,
    features_of,
    folders_of,
    give_up_loading,
    give_up_others,
    held,
    shortcoming,
)
from xctl_probe.sources.select import open_source, with_packets, with_protocols
from xctl_probe.status.intervals import Intervals
from xctl_probe.status.monitor import Monitor
from xctl_probe.status.service import Service
from xctl_probe.stderr import Diagnostics

if TYPE_CHECKING:
    from xctl_probe.otlp.exporter import OtlpExporter
    from xctl_probe.prometheus.collector import Collector
    from xctl_probe.prometheus.endpoint import Endpoint
    from xctl_probe.prometheus.textfile import TextFile
    from xctl_probe.recordings.writer import Recorder

_NAME = "xctl-probe-network"
_STDOUT = 1
_WATCH_S = 2
_LAST_RECORDS_S = 0.5  # for a recording whose disk is slow
_LAST_ANSWERS_S = 0.1  # for the thread that serves metrics
_LAST_MESSAGES_S = 0.5  # for a receiver of OTLP that is slow

app = typer.Typer(
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _installed_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 13 ms

    try:
        return version(_NAME)
    except PackageNotFoundError:
        return None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{_NAME} {_installed_version() or '(not installed: run from a checkout)'}")
        raise typer.Exit


def _config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        context.default_map = {key.replace("-", "_"): v for key, v in read_file(path).items()}
    return path


# Options that are handled before the others.
_EAGER: dict[str, Callable[..., Any]] = {"config": _config, "version": _version}


def _parameter(option: Option) -> inspect.Parameter:
    """Return an option of the table as a parameter, which typer reads from a signature."""
    kind: Any = list[option.kind] if option.many else option.kind  # type: ignore[name-defined]
    info = typer.Option(
        f"--{option.name}",  # with it, typer makes no --no-... of a flag
        envvar=option.variable,
        metavar=option.metavar,
        help=option.help,
        hidden=option.hidden,
        is_eager=option.name in _EAGER,
        callback=_EAGER.get(option.name),
    )
    return inspect.Parameter(
        option.parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=option.default,
        annotation=Annotated[kind if option.default is not None else kind | None, info],
    )


def _takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Set the signature of a command to the options of the table, by keyword."""
    context, *_ = inspect.signature(command, eval_str=True).parameters.values()
    signature = inspect.Signature([context, *map(_parameter, OPTIONS)])
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


@app.callback(invoke_without_command=True)
@_takes_options
def _stream(context: typer.Context, **given: Any) -> None:
    """Report which process waits on the network, on which socket, for how long and why.

    Prints text to a terminal and one JSON record a line elsewhere. transport.drop: a stall of a
    process, ongoing or over, with its cause. transport.bw: bandwidth of interfaces and
    processes. error.net: retransmits; refused, timed-out and reset connections; dropped packets
    and events. process.state: a process of a job begins to use the network, or exits.

    xctl-probe-network | xctl ingest        feed a consumer

    xctl-probe-network --pid 4711           report one process

    Each option is also a variable (XCTL_NETWORK_INTERVAL) and a key of the --config file. An
    option overrides its variable; a variable overrides the file. Exit codes: 0 success, 1 it
    cannot run here, or not now, 2 bad input.
    """
    diagnostics: Diagnostics = context.obj
    if unknown := unknown_variables(os.environ):
        diagnostics.report(unknown)
    if context.invoked_subcommand not in (None, "top", "blame"):
        return
    log = diagnostics.report if given["verbose"] else None
    settings = Settings.checked(given, log, of_this_host=context.invoked_subcommand is None)
    if context.invoked_subcommand is not None:
        context.meta["settings"] = settings
        return
    form = _format(settings.format)
    if given["trace"]:
        _check_trace(context)
        from xctl_probe.commands.trace import trace_calls  # noqa: PLC0415 - the stream does without

        _give_up(diagnostics, KERNEL)
        trace_calls(settings, diagnostics, _STDOUT, form)
        return
    line = with_origin(to_line, this_host(settings.host))
    if sys.stdout is None:  # as the shell's >&- leaves it
        msg = "stdout is closed, and there the records go; >/dev/null drops them"
        raise ProbeError(msg)
    # Before privileges are given up: it opens a terminal or pipe again, also of another user.
    writer = Writer(_STDOUT, line if form is Format.NDJSON else _exporter(form), epoch_ms)
    _give_up(diagnostics, *features_of(settings), folders=folders_of(settings))
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
        stream(settings, source, writer, _STDOUT, receivers, service)


def _is_given(context: Any, name: str) -> bool:
    """Return whether an option stands in the command line: variables may be for the stream."""
    source = context.get_parameter_source(name.replace("-", "_"))
    return source is not None and source.name == "COMMANDLINE"


def _check_trace(context: Any) -> None:
    """Raise UsageError for options that have no effect on the calls."""
    for name in ("interface", "record", "prometheus", "prometheus-file", "otlp"):
        if _is_given(context, name):
            raise UsageError(f"--trace prints calls and makes no records; leave --{name} out")


def _asked_pid(context: typer.Context, settings: Settings, pid: int | None) -> int | None:
    """Return the process that `blame` is asked about: --pid may precede the command."""
    assert context.parent is not None
    if _is_given(context.parent, "interface"):
        raise UsageError("blame: waits lead from interface to interface; leave --interface out")
    before = settings.wanted.pids if pid is None or _is_given(context.parent, "pid") else set()
    pids = before | ({pid} if pid is not None else set())
    if len(pids) > 1:
        raise UsageError("blame: it answers for one --pid, or for all processes")
    return next(iter(pids), None)


def _give_up(diagnostics: Diagnostics, *features: Feature, folders: Collection[Path] = ()) -> None:
    """Give up every capability that none of these features needs."""
    try:
        give_up_others(features, folders)
    except OSError as error:
        diagnostics.report(
            f"unneeded capabilities are kept: {error.strerror}; allow capset(2) and prctl(2)"
        )


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
        About(this_host(settings.host), _installed_version(), source.name),
        settings.interval_ns,
        diagnostics.report,
        metrics_s=settings.otlp_s,
        metrics_only=settings.otlp_metrics_only,
    )
    stack.callback(exporter.close, _LAST_MESSAGES_S)
    return exporter


def _collector(settings: Settings, source: Source) -> Collector:
    from xctl_probe.prometheus.collector import Collector  # noqa: PLC0415 - as above

    info = (_installed_version() or "", source.name)
    pids = settings.prometheus_pids
    return Collector(settings.interval_ns, info, pids, began_ms=epoch_ms())


_Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Answer from the recording that --record names, of the last 90s, 10m, 2h or 1d. "
        "With FILE: of that time in the streams.",
    ),
]


@app.command("top")
def _top(
    context: typer.Context,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", metavar="DIR", help="Show a recording, interval by interval."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Begin with the last 90s, 10m, 2h or 1d."),
    ] = None,
) -> None:
    """Show live which processes wait, which transfer data, and errors.

    Keys open a process, sort, filter and pause. Options of the stream precede the command:
    xctl-probe-network --interval 0.5 top. --replay shows a recording at that pace, or prints its
    frames where stdout is no terminal.
    """
    settings: Settings = context.meta["settings"]
    if replay is not None:
        from xctl_probe.commands.top.replay import run as replay_all  # noqa: PLC0415 - as below

        _give_up(context.obj, RECORDINGS)
        replay_all(settings, _STDOUT, replay, since)
        return
    if since is not None:
        raise UsageError(f"top --since {since}: only with --replay DIR, the recording to show")
    from xctl_probe.commands.top.command import run  # noqa: PLC0415 - the stream does without

    settings.check_host()
    _give_up(context.obj, *features_of(settings), WHY, WHY_ELSEWHERE)
    run(settings)


@app.command("why")
def _why(
    context: typer.Context,
    pid: Annotated[int, typer.Argument(help="Process to explain.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    since: _Since = None,
) -> None:
    """Explain in one sentence what a process waits for, and list the evidence.

    Takes a third of a second. Your own processes need no privilege; other users' need root.
    --since lists what a recording has of it, also where it has exited:
    xctl-probe-network --record DIR why 4711 --since 10m.
    """
    assert context.parent is not None
    options = context.parent.params
    if since is not None:
        from xctl_probe.commands.why.recorded import run as recall  # noqa: PLC0415 - as below

        _give_up(context.obj, RECORDINGS)
        recall(pid, _STDOUT, as_json=as_json, record=options["record"], since=since)
        return
    from xctl_probe.commands.why.command import run  # noqa: PLC0415 - the stream does without

    stall_ms: int = options["stall_ms"]
    check_stall_ms(stall_ms)
    _give_up(context.obj, WHY, WHY_ELSEWHERE)
    run(pid, _STDOUT, as_json=as_json, sock_diag=not options["no_sock_diag"], stall_ms=stall_ms)


@app.command("profile")
def _profile(
    context: typer.Context,
    pid: Annotated[int, typer.Argument(help="Process to measure.")],
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="N", help="How long; Ctrl-C stops it earlier.")
    ] = 5.0,
    children: Annotated[
        bool, typer.Option("--children", help="Also the processes that it makes and has made.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count the system calls of one process, and name what it is bound by.

    Calls by category, the most frequent ones, errors, bytes, and the latencies of the network calls
    as histograms. Needs root; without it, the threads of your own processes are sampled from /proc.
    The kernel programs are removed when the time is over.
    """
    from xctl_probe.commands.profile.command import run  # noqa: PLC0415 - the stream does without

    assert context.parent is not None
    diagnostics: Diagnostics = context.obj
    log = diagnostics.report if context.parent.params["verbose"] else None
    _give_up(diagnostics, PROFILE)
    run(
        pid, _STDOUT, seconds=seconds, children=children, as_json=as_json,
        report=diagnostics.report, log=log,
    )  # fmt: skip


@app.command("blame")
def _blame(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Streams of several hosts: NDJSON, gzip, or directories of recordings.",
            show_default=False,
        ),
    ] = None,
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", help="Only what this process waits for.")
    ] = None,
    job: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="Only what this job waits for.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    since: _Since = None,
    clock_skew: Annotated[
        str | None,
        typer.Option(
            "--clock-skew",
            metavar="TIME",
            help="With FILE: most time between the clocks of two hosts. Default: 1s.",
        ),
    ] = None,
) -> None:
    """Name the process, or the address outside this host, that all others wait for.

    Prints one sentence, then a tree of who waits for whom, for how long. A dead-lock is named as
    such. Takes about a second. Your own processes need no privilege; other users' need root.
    --since is for the moment of a recording at which most connections waited:
    xctl-probe-network --record DIR blame --since 10m. With FILE the same is answered of the
    streams of many hosts together, which probes with --connections have written.
    """
    settings: Settings = context.meta["settings"]
    pid = _asked_pid(context, settings, pid)
    if files:
        from xctl_probe.commands.blame import fleet  # noqa: PLC0415 - as below

        diagnostics: Diagnostics = context.obj
        _give_up(diagnostics, RECORDINGS)
        span = fleet.Span(since, clock_skew)
        fleet.run(files, _STDOUT, diagnostics.report, pid=pid, job=job, as_json=as_json, span=span)
        return
    if clock_skew is not None:
        raise UsageError(f"blame --clock-skew {clock_skew}: only with FILE, the streams of hosts")
    if since is not None:
        from xctl_probe.commands.blame.recorded import run as recall  # noqa: PLC0415 - as below

        _give_up(context.obj, RECORDINGS)
        recall(settings, _STDOUT, pid=pid, job=job, as_json=as_json, since=since)
        return
    from xctl_probe.commands.blame.command import run  # noqa: PLC0415 - the stream does without

    _give_up(context.obj, *features_of(settings), WHY, WHY_ELSEWHERE, STATUS)
    run(settings, _STDOUT, pid=pid, job=job, as_json=as_json)


@app.command("status")
def _status(
    context: typer.Context,
    pid: Annotated[int | None, typer.Argument(help="Only this probe.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print one line; exit with 1 where a probe is unhealthy."),
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch", metavar="[SECONDS]", help="Ask again and again, every 2 s or as given."
        ),
    ] = None,
) -> None:
    """Show the probes that run on this host, and how they are.

    Intervals, records, dropped events, the use of each map, the runs of each program, CPU and
    memory. Root sees the probes of all users. --check is for health checks: exit code 0 healthy, 1
    unhealthy (late or missing intervals, events dropped now, no answer), 2 no probe.
    """
    from xctl_probe.commands.status.command import run  # noqa: PLC0415 - the stream does without

    assert context.parent is not None
    _give_up(context.obj, STATUS)
    directory: str | None = context.parent.params["status_dir"]
    code = run(_STDOUT, directory=directory, pid=pid, as_json=as_json, check=check, watch_s=watch)
    raise typer.Exit(code)


@app.command("check")
def _check(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try every source on this host; print which work, and what makes the others work.

    Loads, attaches and detaches the programs for real; changes nothing. Exit code 0 when a
    source works, else 1.
    """
    from xctl_probe.commands.check.command import run  # noqa: PLC0415 - the stream does without

    raise typer.Exit(run(_STDOUT, as_json=as_json))


def _format(given: Format) -> ConcreteFormat:
    """Return the format that `auto` stands for here."""
    if given is Format.AUTO:
        return Format.TEXT if os.isatty(_STDOUT) else Format.NDJSON
    return given


def _exporter(form: ConcreteFormat) -> Exporter:
    match form:
        case Format.NDJSON:
            return to_line
        case Format.TEXT:
            # https://no-color.org: any value but the empty one switches it off.
            coloured = os.isatty(_STDOUT) and not os.environ.get("NO_COLOR")
            return to_coloured_text if coloured else to_text


def _current_words(words: list[str]) -> list[str]:
    """Return the arguments with former names of values replaced by the current ones."""
    former = {f"--{option.name}": option for option in OPTIONS if option.former_values}
    found = []
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if before in former:
            found.append(former[before].current(word))
        elif name in former and equals:
            found.append(f"{name}={former[name].current(value)}")
        else:
            found.append(word)
    return _with_watch(found)


def _with_watch(words: list[str]) -> list[str]:
    """Give --watch its default where no number follows: typer knows no optional values."""
    return [
        f"{word}={_WATCH_S}" if word == "--watch" and not _is_number(after) else word
        for word, after in zip(words, [*words[1:], ""], strict=False)
    ]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _settle_variables() -> None:
    """Unset empty variables, and replace former names of values."""
    for name in [n for n, value in os.environ.items() if n.startswith(ENV) and not value]:
        del os.environ[name]
    for option in OPTIONS:
        if option.variable and (value := os.environ.get(option.variable)):
            os.environ[option.variable] = option.current(value)


def main() -> None:
    """Run the command.  Each error is one line on stderr and an exit code."""
    diagnostics = Diagnostics()
    _settle_variables()
    try:
        command = typer.main.get_command(app)
        if not {"-h", "--help"}.isdisjoint(sys.argv):
            from xctl_probe.commands.help_language import translate  # noqa: PLC0415 - as below

            translate(command)
        code = (
            command(
                _current_words(sys.argv[1:]),
                prog_name=_NAME,
                standalone_mode=False,
                obj=diagnostics,
            )
            or 0
        )
    except ProbeError as error:
        diagnostics.fail(str(error))
        code = error.exit_code
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        diagnostics.fail(f"{message.rstrip('.')}; see {_NAME} --help")
        code = UsageError.exit_code
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        # The single file has all libraries but this one: why, blame and top sample.
        diagnostics.fail(lacks_library(error))
        code = ProbeError.exit_code
    except (OSError, MemoryError) as error:
        diagnostics.fail(surroundings(error))
        code = ProbeError.exit_code
    except RuntimeError as error:
        if not is_lack_of_threads(error):
            raise
        diagnostics.fail(surroundings(error))
        code = ProbeError.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
