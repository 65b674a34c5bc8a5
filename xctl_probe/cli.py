"""The command: options in, exit code out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from xctl_probe.config import Attach, Backend, Format, Settings, check_stall_ms, read_file
from xctl_probe.errors import ProbeError, UsageError, surroundings
from xctl_probe.exporters.base import Exporter
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.stdout import Writer
from xctl_probe.exporters.text import to_coloured_text, to_text
from xctl_probe.pipeline import epoch_ms, stream
from xctl_probe.sources.privileges import held, shortcoming
from xctl_probe.sources.select import open_source
from xctl_probe.stderr import Diagnostics

_NAME = "xctl-probe-network"
_ENV = "XCTL_NETWORK_"
_STDOUT = 1
# Where a parameter is not called as its option is.
_PARAMETERS = {
    "no-sock-diag": "no_sock_diag",
    "stall-ms": "stall_ms",
    "min-bw": "min_bw",
    "ignore-reply-wait": "ignored_peers",
    "patient": "former_patient",
    "format": "output",
}

_FORMER_BACKENDS = {"proc": "sampler"}

app = typer.Typer(
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 13 ms

        try:
            typer.echo(f"{_NAME} {version(_NAME)}")
        except PackageNotFoundError:
            typer.echo(f"{_NAME} (not installed: run from a checkout)")
        raise typer.Exit


def _config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        settings = read_file(path)
        if "backend" in settings:
            settings["backend"] = _current_backend(str(settings["backend"]))
        context.default_map = {_PARAMETERS.get(k, k): v for k, v in settings.items()}
    return path


@app.callback(invoke_without_command=True)
def _stream(
    context: typer.Context,
    interval: Annotated[
        float,
        typer.Option(envvar=_ENV + "INTERVAL", help="Reporting interval in seconds."),
    ] = 1.0,
    duration: Annotated[
        float | None,
        typer.Option(envvar=_ENV + "DURATION", help="Seconds to run; for ever when left out."),
    ] = None,
    stall_ms: Annotated[
        int,
        typer.Option(envvar=_ENV + "STALL_MS", help="Milliseconds of waiting that make a stall."),
    ] = 100,
    min_bw: Annotated[
        float,
        typer.Option(
            envvar=_ENV + "MIN_BW",
            metavar="MBPS",
            help="Mbps below which a process gets no bandwidth record. "
            "A consumer reads a value below 1.0 as a process that waits.",
        ),
    ] = 1.0,
    pid: Annotated[
        list[int] | None,
        typer.Option(envvar=_ENV + "PID", help="Only this process. May be repeated."),
    ] = None,
    interface: Annotated[
        list[str] | None,
        typer.Option(envvar=_ENV + "INTERFACE", help="Only this interface. May be repeated."),
    ] = None,
    ignored_peers: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-reply-wait",
            envvar=_ENV + "IGNORE_REPLY_WAIT",
            metavar="PEER[:PORT]",
            help="A peer that answers when it sees fit, as a queue or a long poll does: "
            "waits for its replies are no stalls. May be repeated.",
        ),
    ] = None,
    former_patient: Annotated[
        list[str] | None,
        typer.Option(
            "--patient",
            envvar=_ENV + "PATIENT",
            hidden=True,
            help="The former name of --ignore-reply-wait.",
        ),
    ] = None,
    loopback: Annotated[
        bool, typer.Option("--loopback", envvar=_ENV + "LOOPBACK", help="Bandwidth of lo, too.")
    ] = False,
    backend: Annotated[
        Backend,
        typer.Option(envvar=_ENV + "BACKEND", help="Where facts come from; auto: best that works."),
    ] = Backend.AUTO,
    attach: Annotated[
        Attach,
        typer.Option(envvar=_ENV + "ATTACH", help="How ebpf attaches; auto: best there is."),
    ] = Attach.AUTO,
    output: Annotated[
        Format,
        typer.Option("--format", envvar=_ENV + "FORMAT", help="auto: text on a terminal only."),
    ] = Format.AUTO,
    no_sock_diag: Annotated[
        bool,
        typer.Option(
            "--no-sock-diag",
            envvar=_ENV + "NO_SOCK_DIAG",
            help="Sample /proc/net only, as where sock_diag is refused.",
        ),
    ] = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Print every send and receive call (debugging; ebpf only)."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the loader of the programs says.")
    ] = False,
    config: Annotated[  # noqa: ARG001 - its callback has read it
        Path | None,
        typer.Option(
            envvar=_ENV + "CONFIG",
            is_eager=True,
            callback=_config,
            help="A TOML file with these options by their long names.",
        ),
    ] = None,
    show_version: Annotated[  # noqa: ARG001 - its callback has shown it
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show and exit.")
    ] = False,
) -> None:
    """Write one JSON line per fact about this host's network to stdout.

    transport.bw: bandwidth of interfaces and processes. transport.drop: which process waits
    on which socket, for how long and why. error.net: retransmits, refusals, resets, errors.

    xctl-probe-network | xctl ingest        feed a consumer

    xctl-probe-network --pid 4711           does this process wait on the network?

    An option counts before its variable (XCTL_NETWORK_INTERVAL and so on), a variable before
    the file. Exit codes: 0 done, 1 no source works here, 2 bad input.
    """
    if context.invoked_subcommand not in (None, "top"):
        return
    diagnostics: Diagnostics = context.obj
    settings = Settings.checked(
        interval=interval,
        duration=duration,
        stall_ms=stall_ms,
        min_bw=min_bw,
        pids=pid or [],
        interfaces=interface or [],
        loopback=loopback,
        backend=backend,
        output=output,
        sock_diag=not no_sock_diag,
        attach=attach,
        ignored_peers=[*(ignored_peers or []), *(former_patient or [])],
        log=diagnostics.report if verbose else None,
    )
    if context.invoked_subcommand == "top":
        context.meta["settings"] = settings
        return
    as_text = settings.format is Format.TEXT or (
        settings.format is Format.AUTO and os.isatty(_STDOUT)
    )
    if trace:
        from xctl_probe.commands.trace import trace_calls  # noqa: PLC0415 - the stream does without

        trace_calls(settings, diagnostics, _STDOUT, as_text=as_text)
        return
    source, choice = open_source(settings)
    diagnostics.report("; ".join(filter(None, (choice, shortcoming(held())))))
    writer = Writer(_STDOUT, _exporter(as_text), epoch_ms)
    try:
        stream(settings, source, writer, _STDOUT)
    finally:
        writer.close()
        source.close()


@app.command("top")
def _top(context: typer.Context) -> None:
    """Show live who moves how much and who waits for whom; keys open, sort, filter, pause.

    The options of the stream go before the word: xctl-probe-network --interval 0.5 top.
    """
    from xctl_probe.commands.top.command import run  # noqa: PLC0415 - the stream does without

    run(context.meta["settings"])


@app.command("why")
def _why(
    context: typer.Context,
    pid: Annotated[int, typer.Argument(help="The process to look into.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> None:
    """Explain in plain words what a process waits for, show the evidence, and exit.

    Takes a third of a second. One's own processes need no privilege, others' need root.
    """
    from xctl_probe.commands.why.command import run  # noqa: PLC0415 - the stream does without

    assert context.parent is not None
    options = context.parent.params
    stall_ms: int = options["stall_ms"]
    check_stall_ms(stall_ms)
    run(pid, _STDOUT, as_json=as_json, sock_diag=not options["no_sock_diag"], stall_ms=stall_ms)


@app.command("check")
def _check(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> None:
    """Try every source here, say which work, and what would make the others work.

    Loads, attaches and detaches for real; changes nothing. Exit code 0 when some source
    works, else 1.
    """
    from xctl_probe.commands.check.command import run  # noqa: PLC0415 - the stream does without

    raise typer.Exit(run(_STDOUT, as_json=as_json))


def _exporter(as_text: bool) -> Exporter:
    if not as_text:
        return to_line
    # https://no-color.org: any value but the empty one switches it off.
    coloured = os.isatty(_STDOUT) and not os.environ.get("NO_COLOR")
    return to_coloured_text if coloured else to_text


def _current_backend(name: str) -> str:
    return _FORMER_BACKENDS.get(name, name)


def _current_words(words: list[str]) -> list[str]:
    """The arguments, with the present name of a backend in place of a former one."""
    found = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if before == "--backend":
            found.append(_current_backend(word))
        elif option == "--backend" and equals:
            found.append(f"--backend={_current_backend(value)}")
        else:
            found.append(word)
    return found


def main() -> None:
    """Run the command; every error is one line on stderr and an exit code."""
    diagnostics = Diagnostics()
    for name in [n for n, value in os.environ.items() if n.startswith(_ENV) and not value]:
        del os.environ[name]  # set to nothing is as good as not set
    if (backend := os.environ.get(f"{_ENV}BACKEND")) is not None:
        os.environ[f"{_ENV}BACKEND"] = _current_backend(backend)
    try:
        code = (
            app(
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
    except (OSError, MemoryError) as error:
        diagnostics.fail(surroundings(error))
        code = ProbeError.exit_code
    except RuntimeError as error:
        if "thread" not in str(error):
            raise
        diagnostics.fail(surroundings(error))
        code = ProbeError.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
