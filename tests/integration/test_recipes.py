"""The recipes of examples/ for other programs, as far as Debian has these."""

from __future__ import annotations

import gzip
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.install import CHECKOUT
from support.namespace import end, spawn
from support.require import require, require_tools
from support.waiting import ENOUGH_S, until

EXAMPLES = CHECKOUT / "examples"
RSYSLOG = EXAMPLES / "rsyslog/xctl-probe-network.conf"
WRAPPER = EXAMPLES / "telegraf/xctl-probe-network-telegraf"
TOPIC = "xctl-network"


def is_listening(path):
    """The file is there before the program listens."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def with_kafka():
    """rsyslog with its module for Kafka."""
    require_tools("rsyslogd", "kcat")
    found = any(Path("/usr/lib").glob("*/rsyslog/omkafka.so"))
    require(found, "rsyslog-kafka is not installed")


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(prefix="recipe-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def broker(netns, with_kafka):
    """The mock cluster of librdkafka, which lives in a producer that waits; its address."""
    mock = ["-b", "mock", "-X", "test.mock.num.brokers=1", "-d", "mock"]
    words = [*netns.command(), "kcat", "-P", "-t", "none", *mock]
    running = spawn(words, stdout=subprocess.DEVNULL)
    seen = b""
    while not (found := re.search(rb"bootstrap\.servers=([\d.:]+)", seen)):
        assert select.select([running.stderr], [], [], ENOUGH_S)[0], seen
        seen += os.read(running.stderr.fileno(), 65_536)
    yield found[1].decode()
    end(running)


@pytest.fixture
def rsyslog(netns, broker, folder):
    """rsyslog with the recipe; the path of its socket."""
    text = RSYSLOG.read_text()
    changes = {"127.0.0.1:9092": broker, "/run/xctl-stream.sock": str(folder / "socket")}
    for before, after in changes.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    config = folder / "rsyslog.conf"
    config.write_text(f'global(workDirectory="{folder}")\n{text}')
    words = ["rsyslogd", "-n", "-f", str(config), "-i", str(folder / "pid")]
    running = spawn(
        [*netns.command("root"), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: is_listening(folder / "socket"))
    yield folder / "socket"
    end(running)


def test_rsyslog_takes_the_file(with_kafka):
    """Its own check of a configuration."""
    done = subprocess.run(
        ["rsyslogd", "-N1", "-f", str(RSYSLOG)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert b"error" not in done.stderr


def test_each_line_is_a_message_of_kafka(rsyslog, broker, netns, installed, folder):
    """Unchanged and in their order, as the recording of the same run has them."""
    with socket.socket(socket.AF_UNIX) as stdout:
        stdout.connect(str(rsyslog))
        words = [str(installed.command), "--backend", "sampler", "--loopback", "--interval", "0.1"]
        words += ["--format", "ndjson", "--duration", "1", "--record", str(folder / "ring")]
        done = subprocess.run(
            [*netns.command("root"), *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    files = sorted((folder / "ring").glob("*.gz"))
    lines = [line for path in files for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert lines  # on a busy host, of few intervals

    def messages():
        options = ["-t", TOPIC, "-o", "beginning", "-e", "-q"]
        got = subprocess.run(
            [*netns.command(), "kcat", "-C", "-b", broker, *options],
            capture_output=True,
            check=False,
            timeout=60,
        )
        return got.stdout.splitlines()

    until(lambda: len(messages()) >= len(lines))
    # The mock cluster has four partitions.
    assert sorted(messages()) == sorted(lines)


def wrapped(installed, netns, *options):
    """The lines that the wrapper for Telegraf writes to stderr, and its exit code."""
    done = subprocess.run(
        [*netns.command(), str(WRAPPER), "--backend", "sampler", *options],
        env={"PATH": os.environ["PATH"], "XCTL_PROBE": str(installed.command)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stderr.splitlines(), done.returncode, done.stdout


def test_each_line_on_stderr_has_the_level_of_telegraf(installed, netns):
    """Information at the start, and an error with the remedy; stdout has records only."""
    (line,), code, out = wrapped(installed, netns, "--duration", "0.2", "--format", "ndjson")
    assert (line.startswith("I! xctl-probe-network: source sampler"), code) == (True, 0)
    assert all(one.startswith('{"ts":') for one in out.splitlines())
    (line,), code, _ = wrapped(installed, netns, "--interval", "0")
    assert (line.startswith("E! xctl-probe-network: --interval 0.0: "), code) == (True, 2)


def test_what_is_away_is_a_warning_to_telegraf(installed, netns, folder):
    """As a disk that is full, below a recording."""
    folder.chmod(0o777)
    words = ["prlimit", "--fsize=0", str(WRAPPER), "--backend", "sampler", "--loopback"]
    words += ["--interval", "0.1", "--duration", "1", "--record", str(folder / "ring")]
    done = subprocess.run(
        [*netns.command(), *words],
        env={"PATH": os.environ["PATH"], "XCTL_PROBE": str(installed.command)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert [line[:3] for line in done.stderr.splitlines()] == ["I! ", "W! "], done.stderr
