"""The probe at the end of a pipe: readers that leave, stop or die, and signals."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import time

import pytest
from support.truth import bounds_ms

from xctl_probe.exporters.stdout import QUEUE_BYTES

INTERVAL_S = 0.5
WITHIN_S = 20  # a busy host may take seconds to wake it, and to end a process
BULK_BYTES = 20_000_003


@pytest.fixture
def watch_end():
    """Wait for the end of a process that is not our child, by its pid."""
    descriptors = []

    def watch(pid):
        descriptors.append(os.pidfd_open(pid))

        def ended(timeout_s):
            return bool(select.select([descriptors[-1]], [], [], timeout_s)[0])

        return ended

    yield watch
    for descriptor in descriptors:
        os.close(descriptor)


def command(installed, netns, *options):
    return [*netns.command(), str(installed.command), *options]


def test_a_reader_that_leaves_stops_the_probe_quietly(installed, netns):
    """`| head -1`: exit code 0, one line on stderr (what the source is) and no traceback."""
    words = command(installed, netns, "--backend", "proc", "--loopback", "--interval", "0.1")
    script = 'set -o pipefail; "$@" | head -1; echo "codes ${PIPESTATUS[*]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    record, codes = done.stdout.splitlines()
    assert record.startswith('{"ts":')
    assert codes == "codes 0 0"
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_closed_stdout_stops_a_probe_that_has_nothing_to_report(start_probe, watch_end):
    """Without loopback this namespace has no interface, so nothing is ever written."""
    reader, stdout = os.pipe()
    running = start_probe("--backend", "proc", "--interval", INTERVAL_S, stdout=stdout)
    os.close(stdout)
    running.wait_for_stderr("source")
    ended = watch_end(running.pid)
    assert not ended(3 * INTERVAL_S)  # it runs while there is a reader
    assert not select.select([reader], [], [], 0)[0]
    os.close(reader)
    assert ended(WITHIN_S)
    running.wait_exit(0)


def test_a_dead_parent_stops_the_probe(installed, netns, watch_end, tmp_path):
    """Whoever started it was killed, and its stdout is still open: it leaves all the same."""
    words = command(installed, netns, "--backend", "proc", "--interval", str(INTERVAL_S))
    parent = subprocess.Popen(
        ["sh", "-c", '"$@" & echo $! >&2; wait', "sh", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output = [parent.stderr.readline() for _ in range(2)]
        pid = next(int(line) for line in output if line.strip().isdigit())
        assert any(b"source" in line for line in output)  # it is up, and knows its parent
        ended = watch_end(pid)
    finally:
        parent.kill()
        parent.wait(60)
    try:
        assert ended(WITHIN_S)
    finally:
        if not ended(0):
            os.kill(pid, signal.SIGKILL)
        parent.stdout.close()
        parent.stderr.close()


@pytest.fixture
def hangups_stop():
    """Where nohup runs the tests, programs would ignore SIGHUP; a handler is none after exec."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_stop")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_flushes_the_last_window(probe, worker, number):
    """What moved since the last interval is written before the probe leaves with 0."""
    running = probe(interval=2)
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    running.wait_for_intervals(1)  # the window that now begins has two seconds to go
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES)
    receiver.expect("recv")
    consumer = running.stop(number)
    assert consumer.sent_bytes(sender.pid) == pytest.approx(BULK_BYTES, rel=0.01)
    assert consumer.received_bytes(receiver.pid) == pytest.approx(BULK_BYTES, rel=0.01)


def test_a_duration_is_over_by_itself(start_probe):
    """--duration: that long, and exit code 0."""
    running = start_probe(
        *("--backend", "proc", "--loopback", "--interval", "0.2", "--duration", "1"),
    )
    consumer = running.wait_exit(0)
    # Fewer intervals on a busy host, but of the same time.
    spans_ms = [r.net["interval_ms"] for r in consumer.interface_bandwidth("lo")]
    assert 1 <= len(spans_ms) <= 6
    assert sum(spans_ms) >= 900


@pytest.mark.timeout(400)  # a busy host takes two minutes to install the probe
def test_a_consumer_that_stops_for_30_s_loses_no_stall(probe, worker, backend):
    """Every stall of those 30 s arrives afterwards, nothing is lost, and memory stays flat."""
    server, client = worker(), worker()
    # One process only: as root the probe would also queue what else happens on this host.
    running = probe("--pid", client.pid)
    fcntl.fcntl(running.process.stdout, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    # What the first stall starts, such as the reader of /proc, is there once.
    server.begin("recv", 7)
    client.begin("ask", 7, 11)
    running.wait_for(lambda c: c.stalls(pid=client.pid))
    server.expect("recv")
    server.ask("send", 11)
    client.expect("ask")
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    client.ask("nap", 110)
    running.wait_for_intervals(5)
    before_bytes = running.resident_bytes()

    running.pause()
    beats = len(running.consumer.interface_bandwidth("lo"))
    # Late replies of a second are usual after three of them, where the peer cannot be read in time.
    # Nor is its process read: the request lies in its queue.
    # A wait needs a sample: long ones have it also where a busy host wakes the probe late.
    waits = 11
    for _ in range(waits):  # 30 s in all
        server.begin("nap", 2_810)
        server.begin("recv", 7)
        server.begin("send", 11)
        client.begin("ask", 7, 11)
        client.begin("nap", 110)
    truths = []
    for _ in range(waits):
        answer = [server.expect(event) for event in ("nap", "recv", "send")][-1]
        truths.append(client.expect("ask") | {"released_ns": answer["stall_begin_ns"]})
        client.expect("nap")
    growth_bytes = running.resident_bytes() - before_bytes
    resumed_ms = time.time_ns() // 1_000_000
    running.resume()

    # Lines come in order: what is older than this one has come before.
    running.wait_for(lambda c: c.interface_bandwidth("lo")[-1].ts > resumed_ms + 1_000)
    consumer = running.stop()
    # What the source loses are events of others, too: of this client's, all are found below.
    assert "stdout" not in consumer.losses()
    _, *reported = consumer.stalls(pid=client.pid, ongoing=False)
    assert len(reported) == waits, " ".join(f"{r.ts} {r.value}" for r in consumer.stalls())
    tolerance_ms = backend.tolerance_ms(0.2)
    for record, truth in zip(reported, truths, strict=True):
        least_ms, most_ms = bounds_ms(truth)
        assert least_ms - tolerance_ms <= record.stall_ms <= most_ms + tolerance_ms
    # Much less is queued; what else happens on this host, as floods of waits, takes memory, too.
    assert growth_bytes < 3 * QUEUE_BYTES
    # Bandwidth was added up meanwhile: no byte of it is missing, though the records are few.
    spans_ms = [r.net["interval_ms"] for r in consumer.interface_bandwidth("lo")[beats:]]
    assert sum(spans_ms) > 29_900
    assert len(spans_ms) < 29_900 / 200 / 2
