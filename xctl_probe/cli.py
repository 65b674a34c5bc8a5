"""The command line: options, subcommands, exit codes."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from xctl_probe.config.checks import check_stall_ms
from xctl_probe.config.choices import ConcreteFormat, Format
from xctl_probe.config.environment import unknown_variables
from xctl_probe.config.file import read_file
from xctl_probe.config.option import ENV, Option
from xctl_probe.config.options import OPTIONS
from xctl_probe.config.settings import Settings
from xctl_probe.errors import (
    ProbeError,
    UsageError,
    is_lack_of_threads,
    lacks_library,
    surroundings,
)
from xctl_probe.exporters.stdout import printed_as_answer
from xctl_probe.sources.privileges import (
    KERNEL,
    PROFILE,
    RECORDINGS,
    STATUS,
    WHY,
    WHY_ELSEWHERE,
    Feature,
    features_of,
    give_up_or_report,
)
from xctl_probe.stderr import Diagnostics
from xctl_probe.version import NAME, installed_version

_STDOUT = 1
_WATCH_S = 2

app = typer.Typer(
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {installed_version() or '(not installed: run from a checkout)'}")
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

    xctl-probe-network | xctl ingest        feed a consumer, such as xctl or jq

    xctl-probe-network --pid 4711           report one process, and interfaces

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
    from xctl_probe.commands.stream import run  # noqa: PLC0415 - the other commands do without

    run(settings, _STDOUT, diagnostics, form)


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


def _give_up(diagnostics: Diagnostics, *features: Feature) -> None:
    """Give up every capability that none of these features needs."""
    give_up_or_report(diagnostics.report, features)


_SinceRecorded = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Answer from the recording that --record names, of the last 90s, 10m, 2h or 1d.",
    ),
]
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
        typer.Option(
            "--since",
            metavar="TIME",
            help="Show the last 90s, 10m, 2h or 1d of the recording that --replay or --record "
            "names.",
        ),
    ] = None,
) -> None:
    """Show live which processes wait, which transfer data, and errors.

    Keys open a process, sort, filter and pause. Options of the stream precede the command:
    xctl-probe-network --interval 0.5 top. --replay shows a recording at that pace, or prints its
    frames where stdout is no terminal.
    """
    settings: Settings = context.meta["settings"]
    if replay is None and since is not None:
        replay = settings.record
        if replay is None:
            raise UsageError(
                f"top --since {since}: no recording is named; give --replay DIR, or put --record "
                "DIR before the command"
            )
    if replay is not None:
        from xctl_probe.commands.top.replay import run as replay_all  # noqa: PLC0415 - as below

        _give_up(context.obj, RECORDINGS)
        replay_all(settings, _STDOUT, replay, since)
        return
    from xctl_probe.commands.top.command import run  # noqa: PLC0415 - the stream does without

    settings.check_host()
    _give_up(context.obj, *features_of(settings), WHY, WHY_ELSEWHERE)
    run(settings)


@app.command("why")
def _why(
    context: typer.Context,
    pid: Annotated[int, typer.Argument(help="Process to explain.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    since: _SinceRecorded = None,
) -> None:
    """Explain what a process waits for, and list the evidence.

    Takes about a second. Your own processes need no privilege; other users' need root.
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
    _give_up(context.obj, WHY, WHY_ELSEWHERE, STATUS)
    run(
        pid, _STDOUT, as_json=as_json, sock_diag=not options["no_sock_diag"], stall_ms=stall_ms,
        record=options["record"], status_dir=options["status_dir"],
    )  # fmt: skip


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
    """Count the system calls of a process; name what it is bound by.

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
        int | None,
        typer.Option(
            "--pid", metavar="PID", help="Only what this process, or its children, wait for."
        ),
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
    """Name the process, or the outside address, that all wait for.

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
    """Try every source on this host; print which work, and remedies.

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


def _mistake(error: typer.TyperException) -> str:
    """Return one line about words that the command does not take, with its own help."""
    message = " ".join(error.format_message().split()).rstrip(".")
    if getattr(getattr(error, "param", None), "name", None) == "pid":
        message = message.replace("a valid int", "a process id")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path if context else NAME} --help"


def main() -> None:
    """Run the command.  Each error is one line on stderr and an exit code."""
    diagnostics = Diagnostics()
    _settle_variables()
    try:
        command = typer.main.get_command(app)
        with printed_as_answer(_STDOUT):
            if not {"-h", "--help"}.isdisjoint(sys.argv):
                from xctl_probe.commands.help_language import translate  # noqa: PLC0415 - as below

                translate(command)
            code = (
                command(
                    _current_words(sys.argv[1:]),
                    prog_name=NAME,
                    standalone_mode=False,
                    obj=diagnostics,
                )
                or 0
            )
    except ProbeError as error:
        diagnostics.fail(str(error))
        code = error.exit_code
    except typer.TyperException as error:
        diagnostics.fail(_mistake(error))
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
