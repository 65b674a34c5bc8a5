"""A mistake gets one line that names it and the remedy, exit code 2, and no record."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.fixture
def refuse(installed, netns):
    """Run the command with a mistake, as a user without privileges; its one line."""

    def run(*options, env=None, code=2):
        done = subprocess.run(
            [*netns.command(), str(installed.command), *map(str, options)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", **(env or {})},
            check=False,
        )
        assert done.returncode == code, done
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line

    return run


@pytest.fixture
def config(tmp_path_factory, installed):
    """Write a configuration file where the unprivileged user can reach it."""

    def write(text, mode=0o644):
        path = installed.traffic.parent / "config.toml"
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--interval", 0), ["--interval", "0"]),
        (("--interval", "nan"), ["--interval", "nan"]),
        (("--interval", "inf"), ["--interval", "inf"]),
        (("--interval", -1), ["--interval", "-1"]),
        (("--interval", "soon"), ["--interval", "soon"]),
        (("--duration", 0), ["--duration"]),
        (("--duration", "nan"), ["--duration", "nan"]),
        (("--stall-ms", 0), ["--stall-ms"]),
        (("--stall-ms", "long"), ["--stall-ms", "long"]),
        (("--metrics", "stalls,magic"), ["--metrics", "magic", "protocols, packets"]),
        (("--packets-hook", "magic"), ["--packets-hook", "magic", "xdp-native"]),
        (("--min-bw", "nan"), ["--min-bw", "nan"]),
        (("--min-bw", -1), ["--min-bw", "-1"]),
        (("--metrics", "stalls,cpu"), ["--metrics stalls,cpu", "'cpu'", "bandwidth, stalls"]),
        (("--metrics", "syscalls"), ["--metrics syscalls", "xctl-probe-network profile PID"]),
        (("--metrics", "stalls,"), ["--metrics stalls,", "''"]),
        (("--metrics", "protocols"), ["--metrics protocols", "stalls,errors,protocols"]),
        (("--interface", "nope0"), ["--interface", "nope0", "lo"]),  # and those there are
        (("--backend", "magic"), ["--backend", "magic", "sampler"]),
        (("--format", "xml"), ["--format", "xml", "ndjson"]),
        (("--pid", 0), ["--pid"]),
        (("--pid", "init"), ["--pid", "init"]),
        (("--record", ""), ["--record"]),
        (("--record", "/no/such/folder"), ["--record", "/no/such", "make it first"]),
        (("--record", "/etc"), ["--record", "/etc", "another user"]),
        (("--record", "/etc/passwd"), ["--record", "/etc/passwd", "not a directory"]),
        (("--record-for", "soon"), ["--record-for", "soon", "10m"]),
        (("--record-size", 0), ["--record-size", "0"]),
        (("--prometheus", "soon"), ["--prometheus", "soon", "10.0.0.7:9599"]),
        (("--prometheus", 70_000), ["--prometheus", "70000"]),
        (("--prometheus", 80), ["--prometheus 127.0.0.1:80", "give a port from 1024 up"]),
        (("--prometheus-file", "/tmp/a.txt"), ["--prometheus-file", "/tmp/a.txt", ".prom"]),
        (("--prometheus-file", "/no/a.prom"), ["--prometheus-file", "/no/a.prom", "directory"]),
        (("--prometheus-pids", -1), ["--prometheus-pids", "-1"]),
        (("--otlp", "localhost:4318"), ["--otlp", "localhost:4318", "http://127.0.0.1:4318"]),
        (("--otlp-interval", 0), ["--otlp-interval", "0"]),
        (("--host", "a b"), ["--host", "'a b'", "printable ASCII"]),
        (("--connections", "--no-process-state"), ["--connections", "--no-process-state"]),
        (("why", 1, "--since", "10m"), ["--since", "10m", "--record DIR"]),
        (("--record", "/etc", "why", 1, "--since", "x"), ["--since", "x"]),
        (("blame", "--since", "10m"), ["--since", "10m", "--record DIR"]),
        (("--interface", "lo", "blame"), ["blame", "leave --interface out"]),
        (("--pid", 1, "blame", "--pid", 2), ["blame", "one --pid"]),
        (("--trace", "--interface", "lo"), ["--trace", "leave --interface out"]),
        (("--trace", "--prometheus", 9599), ["--trace", "leave --prometheus out"]),
        (("top", "--since", "10m"), ["--since", "10m", "--replay DIR"]),
        (("top", "--replay", "/no/such"), ["recording", "/no/such"]),
        (("--no-such-option",), ["--no-such-option"]),
        (("--config", "/no/such/file.toml"), ["/no/such/file.toml"]),
        (("--config", "/"), ["--config", "/"]),
        (("surplus",), ["surplus"]),
    ],
)
def test_a_bad_option_is_named(refuse, options, names):
    """Each of these mistakes is refused with its option, its value and what is allowed."""
    line = refuse(*options)
    assert all(str(name) in line for name in names), line


def test_an_address_that_may_be_there_later_is_no_bad_input(refuse):
    """At the boot of a host: the service is started again."""
    line = refuse("--prometheus", "192.0.2.1:0", code=1)
    assert "--prometheus 192.0.2.1:0: no interface of this host has the address" in line


def test_a_dead_pid_is_named(refuse):
    """A process that has ended cannot be watched."""
    gone = subprocess.Popen(["true"])
    gone.wait(60)
    assert f"--pid {gone.pid}" in refuse("--pid", gone.pid)


@pytest.mark.parametrize(
    ("name", "value"),
    [("INTERVAL", "0"), ("INTERVAL", "often"), ("STALL_MS", "1.5"), ("INTERFACE", "nope0")],
)
def test_a_bad_variable_is_named(refuse, name, value):
    """The same for what comes from the environment."""
    line = refuse(env={f"XCTL_NETWORK_{name}": value})
    assert value in line
    assert name in line.upper().replace("-", "_")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("interval = ", ["config.toml"]),
        ("interval 1", ["config.toml"]),
        ("intervall = 1.0", ["intervall", "interval"]),
        ('interval = "fast"', ["interval", "fast"]),
        ("interval = 0", ["interval", "0"]),
        ("interval = nan", ["interval", "nan"]),
        ("stall-ms = true", ["stall-ms", "rue"]),
        ('pid = ["one"]', ["pid"]),
        ('interface = "nope0"', ["interface", "nope0"]),
        ("[network]\ninterval = 1", ["network"]),
    ],
)
def test_a_bad_configuration_is_named(refuse, config, text, names):
    """A malformed file, an unknown key and a wrong value each name the place."""
    line = refuse("--config", config(text))
    assert all(name in line for name in names), line


def test_an_unreadable_configuration_is_named(refuse, config):
    """A file that this user may not read is a mistake like any other."""
    path = config("interval = 1.0", mode=0)
    assert str(path) in refuse("--config", path)


def test_a_source_that_cannot_work_is_an_error_when_asked_for(refuse):
    """A forced backend is never replaced by another one."""
    assert "--backend ebpf" in refuse("--backend", "ebpf", code=1)


def test_an_option_goes_before_a_variable_and_a_variable_before_the_file(start_probe, config):
    """The order of precedence, read off the length of the intervals: each three times the last."""
    path = config("interval = 0.1\nloopback = true\nbackend = 'proc'")
    file = ("--config", path)
    for options, env, expected_ms in [
        (file, {}, 100),
        (file, {"XCTL_NETWORK_INTERVAL": "0.3"}, 300),
        ((*file, "--interval", "0.9"), {"XCTL_NETWORK_INTERVAL": "0.3"}, 900),
        ((), {"XCTL_NETWORK_CONFIG": str(path)}, 100),
    ]:
        running = start_probe(*options, env=env)
        running.wait_for_intervals(5)
        spans_ms = [r.net["interval_ms"] for r in running.stop().interface_bandwidth("lo")]
        # The last one is what was left at the stop; on a busy host most may be late.
        assert min(spans_ms[:-1]) == pytest.approx(expected_ms, rel=0.5)


def test_a_closed_stdout_is_no_silence(installed):
    """As `>&-` leaves it: there is nowhere for the records to go."""
    words = ["sh", "-c", 'exec "$0" --duration 1 >&-', str(installed.command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        1, "xctl-probe-network: stdout is closed, and there the records go; >/dev/null drops them\n"
    )  # fmt: skip


def test_without_stderr_no_message_goes_to_stdout(installed):
    """Started with 2>&-: the next file that is opened would have its number."""
    options = "--backend sampler --interval 0.2 --duration 0.5 2>&-"
    words = ["sh", "-c", f'exec "$0" {options}', str(installed.command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=60)
    assert [json.loads(line)["event_type"] for line in done.stdout.splitlines()]
