"""The command: where a setting comes from, what it answers to mistakes, what the README states."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from support.without_numpy import run_without_numpy
from unit.test_config import KEYS, LITERALS

from xctl_probe import cli
from xctl_probe.commands import stream
from xctl_probe.config.choices import Backend, Format
from xctl_probe.config.options import FILE_KEYS, OPTIONS
from xctl_probe.errors import SourceUnavailable, UsageError
from xctl_probe.stalls.policy import STALL_MS

README = Path(__file__).parents[2] / "README.md"


class Command:
    """Runs the command up to the point where it would open a source."""

    def __init__(self):
        self.settings = None
        self.messages = []

    def open_source(self, settings):
        self.settings = settings
        raise SourceUnavailable("as far as it goes")

    def report(self, message):
        self.messages.append(message)

    fail = report

    def run(self, *words, **variables):
        """The exit code.  `self.settings` has what it would have run with, else None."""
        self.settings, self.messages = None, []
        with pytest.MonkeyPatch.context() as patch:
            for name in [n for n in os.environ if n.startswith("XCTL_")]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(f"XCTL_NETWORK_{name}", value)
            patch.setattr(sys, "argv", ["xctl-probe-network", *map(str, words)])
            patch.setattr(stream, "open_source", self.open_source)
            patch.setattr(cli, "Diagnostics", lambda: self)
            with pytest.raises(SystemExit) as left:
                cli.main()
        return left.value.code

    def taken(self, *words, **variables):
        """The settings, of a command without a mistake."""
        assert self.run(*words, **variables) == 1, self.messages
        assert self.messages == ["as far as it goes"]
        assert self.settings is not None
        return self.settings


@pytest.fixture
def command():
    return Command()


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "probe.toml"
        path.write_text(content)
        return path

    return write


def test_without_arguments_the_defaults_hold(command):
    """As a consumer's child it gets none."""
    found = command.taken()
    assert (found.interval_ns, found.duration_ns, found.stall_ns) == (10**9, None, 10**8)
    assert (found.backend, found.format, found.sock_diag) == (Backend.AUTO, Format.AUTO, True)
    assert (found.wanted.min_mbps, found.wanted.loopback) == (1.0, False)


def test_an_option_outweighs_a_variable_and_that_the_file(command, file):
    """In this order, each by itself."""
    path = file("interval = 2\nstall-ms = 2\nmin-bw = 2\n")
    found = command.taken("--config", path, "--min-bw", 5, STALL_MS="3", MIN_BW="3")
    assert (found.interval_ns, found.stall_ns) == (2_000_000_000, 3_000_000)
    assert found.wanted.min_mbps == 5


def test_the_file_may_be_named_by_a_variable(command, file):
    """For a child that gets no arguments."""
    path = file("interval = 2\n")
    assert command.taken(CONFIG=str(path)).interval_ns == 2_000_000_000


def test_a_variable_set_to_nothing_is_not_set(command):
    """As an empty line in a unit file leaves it."""
    assert command.taken(INTERVAL="", PID="").interval_ns == 1_000_000_000


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"INTERVL": "5"},
            "ignored, because no option has it: "
            "XCTL_NETWORK_INTERVL (did you mean XCTL_NETWORK_INTERVAL?)",
        ),
        (
            {"STALL": "5", "PORT": "tcp://10.0.0.7:80", "VERBOSE": "1", "Z": "1"},
            "ignored, because no option has it: XCTL_NETWORK_PORT, "
            "XCTL_NETWORK_STALL (did you mean XCTL_NETWORK_STALL_MS?), "
            "XCTL_NETWORK_VERBOSE and 1 more",
        ),
    ],
)
def test_a_variable_of_no_option_is_named_and_no_mistake(command, variables, message):
    """The prefix may be another program's, as variables of services in Kubernetes."""
    assert command.run(INTERVAL="7", **variables) == 1
    assert command.messages == [message, "as far as it goes"]
    assert command.settings.interval_ns == 7_000_000_000


def test_an_empty_variable_of_no_option_is_not_set(command):
    command.taken(INTERVL="")


FILE_VALUES = [
    ("interval = 7", lambda s: s.interval_ns == 7_000_000_000),
    ("duration = 7", lambda s: s.duration_ns == 7_000_000_000),
    ("stall-ms = 7", lambda s: s.stall_ns == 7_000_000),
    ('metrics = "stalls,packets"', lambda s: s.wanted.metrics == {"stalls", "packets"}),
    ('packets-hook = "xdp"', lambda s: s.packets_hook == "xdp"),
    ("min-bw = 7", lambda s: s.wanted.min_mbps == 7),
    ("reply-ms = 7", lambda s: s.reply_ns == 7_000_000),
    ("proc-budget = 7", lambda s: s.proc_share == 0.07),
    (f"pid = {os.getpid()}", lambda s: s.wanted.pids == {os.getpid()}),
    ('interface = "lo"', lambda s: s.wanted.interfaces == {"lo"}),
    ("no-process-state = true", lambda s: not s.process_state),
    ("report-probable = true", lambda s: s.report_probable),
    ("connections = true", lambda s: s.connections),
    ('host = "node-7"', lambda s: s.host == "node-7"),
    ("loopback = true", lambda s: s.wanted.loopback),
    ('metrics = "stalls, rdma"', lambda s: s.wanted.metrics == {"stalls", "rdma"}),
    ('backend = "proc"', lambda s: s.backend is Backend.SAMPLER),
    ('attach = "kprobe"', lambda s: s.attach == "kprobe"),
    ('patient = "10.0.0.7:6379"', lambda s: s.ignored_peers.peers == {("10.0.0.7", 6379)}),
    (
        'ignore-reply-wait = "10.0.0.7:6379"',
        lambda s: s.ignored_peers.peers == {("10.0.0.7", 6379)},
    ),
    ("no-sock-diag = true", lambda s: not s.sock_diag),
    ('format = "text"', lambda s: s.format is Format.TEXT),
    ('record = "/tmp/ring"', lambda s: s.record == Path("/tmp/ring")),
    ('record-for = "2h"', lambda s: s.record_limits.span_ms == 7_200_000),
    ('prometheus = "[::1]:7"', lambda s: str(s.prometheus) == "[::1]:7"),
    ('prometheus-file = "/tmp/a.prom"', lambda s: s.prometheus_file == Path("/tmp/a.prom")),
    ("prometheus-pids = 7", lambda s: s.prometheus_pids == 7),
    ('otlp = "http://[::1]:7/a"', lambda s: str(s.otlp) == "http://[::1]:7/a"),
    ("otlp-interval = 7", lambda s: s.otlp_s == 7),
    ("otlp-metrics-only = true", lambda s: s.otlp_metrics_only),
    ("record-size = 7", lambda s: s.record_limits.size_bytes == 7 << 20),
    ('status-dir = "/tmp/run"', lambda s: s.status_dir == Path("/tmp/run")),
]


def test_without_the_option_nothing_of_otlp_is_imported():
    """Of the libraries and of the package; only the form of an address is checked."""
    words = (
        "import sys, xctl_probe.cli; print(*[m for m in sys.modules if m.startswith("
        "('opentelemetry', 'google', 'xctl_probe.otlp.'))])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "xctl_probe.otlp.url\n"


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "xctl_probe.otlp.exporter", None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    settings = SimpleNamespace(otlp=object())
    with pytest.raises(UsageError, match=r"pip install 'xctl-probe-network\[otlp\]'$"):
        stream._otlp(settings, None, None, None)


def test_every_key_is_tried_below():
    """A new option gets its line, here."""
    assert {line.partition(" ")[0] for line, _ in FILE_VALUES} == FILE_KEYS.keys()


@pytest.mark.parametrize(
    ("line", "took"), FILE_VALUES, ids=[line.partition(" ")[0] for line, _ in FILE_VALUES]
)
def test_every_key_of_the_file_takes_effect(command, file, line, took):
    """None is read, found good and forgotten."""
    assert took(command.taken("--config", file(line)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--interval", "0"], "--interval 0.0: not a valid length"),
        (["--interval", "soon"], "--interval"),
        (["--pid", "0"], "--pid 0: no such process"),
        (["--interface", "eth1009"], "--interface eth1009: no such interface"),
        (["--backend", "magic"], "magic"),
        (["--no-such-option"], "--no-such-option"),
        (["surplus"], "surplus"),
        (["--config", "/nonexistent.toml"], "--config /nonexistent.toml: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, words, message):
    """It names the mistake; nothing is started."""
    assert command.run(*words) == 2
    assert command.settings is None
    (messages,) = command.messages
    assert message in messages
    assert "\n" not in messages


def test_a_mistake_in_a_variable_is_one_line_too(command):
    """A child's mistakes come from there."""
    assert command.run(INTERVAL="soon") == 2
    (messages,) = command.messages
    assert "soon" in messages


@given(LITERALS, KEYS)
@with_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_the_file_is_settings_or_exit_code_2(tmp_path, literal, key):
    """Settings, or one line; never a traceback."""
    path = tmp_path / "any.toml"
    path.write_text(f"{key} = {literal}\n")
    command = Command()
    code = command.run("--config", path)
    assert (code, command.settings is None) in [(1, False), (2, True)]
    assert len(command.messages) == 1


def test_an_absurd_number_in_the_file_is_a_mistake_like_any_other(command, file):
    """400 digits are a good TOML integer and no float."""
    assert command.run("--config", file("duration = 1" + "0" * 400)) == 2


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (("--backend", "sampler"), {}),
        (("--backend", "proc"), {}),
        (("--backend=proc",), {}),
        ((), {"BACKEND": "proc"}),
    ],
)
def test_the_sampler_may_be_named_as_before(command, words, variables):
    """Units and scripts that were written for an earlier release go on working."""
    assert command.taken(*words, **variables).backend is Backend.SAMPLER


def test_ignored_peers_may_be_named_as_before(command):
    """The former option and variable, beside the present ones."""
    words = ("--ignore-reply-wait", "10.0.0.7", "--patient", "10.0.0.8:53")
    assert command.taken(*words).ignored_peers.peers == {("10.0.0.7", None), ("10.0.0.8", 53)}
    found = command.taken(PATIENT="10.0.0.7", IGNORE_REPLY_WAIT="10.0.0.8")
    assert found.ignored_peers.peers == {("10.0.0.7", None), ("10.0.0.8", None)}


def test_the_command_has_the_options_of_the_table():
    """Each with its names, its default and its variable; typer's own two beside them."""
    found = {
        o.opts[0]: (o.default, o.envvar, o.help, o.hidden)
        for o in typer.main.get_command(cli.app).params
    }
    completion = {"--install-completion", "--show-completion"}
    assert {name: row for name, row in found.items() if name not in completion} == {
        f"--{o.name}": (o.default, o.variable, o.help, o.hidden) for o in OPTIONS
    }
    assert completion < found.keys()


def options():
    """Every long option that --help shows."""
    context = typer.main.get_command(cli.app)
    return sorted({o for p in context.params if not p.hidden for o in p.opts if o.startswith("--")})


def test_the_options_are_found():
    """The two tests below would pass on an empty list."""
    assert {"--interval", "--pid", "--format", "--no-sock-diag", "--version"} <= {*options()}


def test_the_readme_mentions_every_option():
    """A reader of it need not run the program to learn what it can."""
    text = README.read_text()
    assert [o for o in options() if not re.search(rf"{o}(?![\w-])", text)] == []


def test_every_option_has_help():
    """No option is a riddle."""
    params = typer.main.get_command(cli.app).params
    assert [p.name for p in params if not getattr(p, "help", None)] == []


def test_the_list_of_commands_has_whole_sentences_at_80_columns(capfd):
    """A longer one is cut, and has three dots at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", ["xctl-probe-network", "--help"])
        with pytest.raises(SystemExit):
            cli.main()
    listed = capfd.readouterr().out.partition("\nCommands:\n")[2].splitlines()
    assert len(listed) == len(typer.main.get_command(cli.app).commands)
    assert [line for line in listed if line.endswith("...") or len(line) > 80] == []


@pytest.mark.parametrize(
    ("words", "variables", "stall_ms"),
    [((), {}, STALL_MS), (("--stall-ms", 233), {}, 233), ((), {"STALL_MS": "239"}, 239)],
)
def test_why_takes_the_length_of_a_stall(command, monkeypatch, words, variables, stall_ms):
    """From the option before the word, as top does."""
    given = []

    def diagnose(pid, **options):
        given.append((pid, options))
        raise SourceUnavailable("as far as it goes")

    monkeypatch.setattr("xctl_probe.commands.why.explain.diagnose", diagnose)
    assert command.run(*words, "why", 4_711, **variables) == 1
    assert given == [(4_711, {"sock_diag": True, "stall_ms": stall_ms})]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("why", "x"), "'x' is not a process id; see xctl-probe-network why --help"),
        (("blame", "--pid", "x"), "'x' is not a process id; see xctl-probe-network blame --help"),
        (("--pid", "x"), "'x' is not a process id; see xctl-probe-network --help"),
        (("top", "--x"), "No such option: --x; see xctl-probe-network top --help"),
    ],
)
def test_a_mistake_names_the_help_of_the_command(command, words, message):
    assert command.run(*words) == 2
    (line,) = command.messages
    assert line.endswith(message)


def test_why_names_the_recording_for_a_process_that_is_gone(command):
    """That of --record, else any."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    recall = f"why {gone.pid} --since 1h"
    missing = f"why {gone.pid}: no such process; `ps -e` lists all; of one that has exited: "
    assert command.run("why", gone.pid) == 2
    assert command.messages == [f"{missing}xctl-probe-network --record DIR {recall}"]
    assert command.run("--record", "/a b", "why", gone.pid) == 2
    assert command.messages == [f"{missing}xctl-probe-network --record '/a b' {recall}"]


def test_why_refuses_a_length_that_is_none(command):
    """By the rule of the stream."""
    assert command.run("--stall-ms", 0, "why", 4_711) == 2
    assert command.messages == ["--stall-ms 0: give milliseconds from 1 to 3600000"]


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ((), {}),
        (("--json",), {"as_json": True}),
        (("--check", 4_711), {"check": True, "pid": 4_711}),
        (("--watch",), {"watch_s": 2.0}),
        (("--watch", "--json"), {"watch_s": 2.0, "as_json": True}),
        (("--watch", "0.5"), {"watch_s": 0.5}),
        (("--watch=0.5",), {"watch_s": 0.5}),
    ],
)
def test_status_takes_its_words_and_the_directory_of_the_stream(command, monkeypatch, words, given):
    """--watch also without a number."""
    called = []

    def run(_stdout, **options):
        called.append(options)
        return 0

    monkeypatch.setattr("xctl_probe.commands.status.command.run", run)
    assert command.run("--status-dir", "/tmp/run", "status", *words) == 0
    default = {"pid": None, "as_json": False, "check": False, "watch_s": None}
    assert called == [{"directory": "/tmp/run"} | default | given]


@pytest.mark.parametrize(
    ("words", "variables"),
    [(("--record", "/tmp/ring", "top"), {}), (("top",), {"RECORD": "/tmp/ring"})],
)
def test_top_takes_the_recording_as_why_and_blame_do(command, monkeypatch, words, variables):
    """With --since; without it, it is live."""
    shown = []
    name = "xctl_probe.commands.top.replay.run"
    monkeypatch.setattr(name, lambda _settings, _stdout, *given: shown.append(given))
    assert command.run(*words, "--since", "10m", **variables) == 0
    assert shown == [(Path("/tmp/ring"), "10m")]


def test_top_without_a_recording_has_no_time(command):
    assert command.run("top", "--since", "10m") == 2
    (line,) = command.messages
    assert "give --replay DIR, or put --record DIR before the command" in line


def test_the_exit_code_of_a_check_is_that_of_the_command(command, monkeypatch):
    monkeypatch.setattr("xctl_probe.commands.status.command.run", lambda *_, **__: 1)
    assert command.run("status", "--check") == 1


def test_status_without_a_probe_is_bad_input(command, tmp_path):
    assert command.run("--status-dir", tmp_path, "status") == 2
    assert command.messages[0].startswith(f"no probe runs in {tmp_path} that this user may ask")


@pytest.mark.parametrize("directory", ["", "\0"])
def test_a_directory_that_is_none_is_refused(command, directory):
    assert command.run("--status-dir", directory) == 2
    assert command.messages == [f"--status-dir {directory!r}: give the path of a directory"]


INSPECTS = {"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}
EVERYWHERE = {*INSPECTS, "CAP_SYS_ADMIN"}
LOADS = {"CAP_BPF", "CAP_PERFMON"}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--backend", "ebpf"), {*LOADS, *EVERYWHERE}),
        (("--backend", "sampler"), INSPECTS),
        (("why", "0"), {*EVERYWHERE, "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN"}),
        (("why", "1", "--since", "1m"), {"CAP_DAC_READ_SEARCH"}),
        (("blame", "/nowhere"), {"CAP_DAC_READ_SEARCH"}),
        (("blame", "--since", "1m"), {"CAP_DAC_READ_SEARCH"}),
        (
            ("--backend", "ebpf", "blame", "--pid", "0"),
            {*LOADS, *EVERYWHERE, "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN"},
        ),
        (("top", "--replay", "/nowhere"), {"CAP_DAC_READ_SEARCH"}),
        (("--backend", "ebpf", "top"), {*LOADS, *EVERYWHERE, "CAP_NET_ADMIN"}),
        (("--status-dir", "/nowhere", "status"), {"CAP_DAC_OVERRIDE"}),
    ],
)
def test_each_command_keeps_what_it_needs(command, kept, words, names):
    """And fails here for another reason, after that."""
    assert command.run(*words) in (1, 2)
    assert kept == [names]


def test_a_bad_option_gives_up_nothing(command, kept):
    assert command.run("--interval", "0") == 2
    assert kept == []


@pytest.mark.parametrize("words", [("why", "1"), ("blame",), ("top",)])
def test_a_command_that_samples_names_the_library_that_is_missing(words):
    """The single file has all of them but NumPy."""
    done = run_without_numpy(*words)
    assert done.returncode == 1
    remedy = "install python3-numpy (apt) or numpy (pip)"
    message = f"the sampler needs numpy, which is not installed: {remedy}"
    assert done.stderr == f"xctl-probe-network: {message}\n"
