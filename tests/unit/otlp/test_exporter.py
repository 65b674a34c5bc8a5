"""The exporter and a real receiver by HTTP: one that takes all, is away, is slow, or refuses."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from support.otlp import LOGS, METRICS, Receiver, attributes
from support.records import CLIENT, NOW_MS, STALL
from support.require import require_tools

from xctl_probe.exporters.origin import Origin
from xctl_probe.exporters.records import BandwidthRecord, StallRecord
from xctl_probe.otlp import client, exporter
from xctl_probe.otlp.backlog import Backlog
from xctl_probe.otlp.exporter import About, OtlpExporter
from xctl_probe.otlp.reports import Reports
from xctl_probe.otlp.url import parse

SECOND_NS = 1_000_000_000
ENOUGH_S = 45.0  # only where a test fails


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


class Lines:
    """What is reported, to wait for."""

    def __init__(self):
        self.lines = []
        self._changed = threading.Condition()

    def __call__(self, line):
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, count):
        """The first ones: by then there may be more."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) >= count, ENOUGH_S), self.lines
            return self.lines[:count]


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def start(lines, monkeypatch):
    """Start an exporter whose times are short."""
    started = []
    monkeypatch.setattr(exporter, "_APART_S", 0.01)
    monkeypatch.setattr(exporter, "_FIRST_BACKOFF_S", 0.02)

    def make(url, **options):
        about = About(Origin("node7", "boot"), "0.1.0", "ebpf")
        started.append(
            OtlpExporter(parse(url), about, SECOND_NS, lines, **{"metrics_s": 0.02} | options)
        )
        return started[-1]

    yield make
    for one in started:
        one.close(ENOUGH_S)


def moved(count):
    return BandwidthRecord(NOW_MS, "eth0", CLIENT, count, 0, SECOND_NS)


def stalled(ms):
    return StallRecord(NOW_MS, replace(STALL, duration_ns=ms * 1_000_000))


def durations(receiver):
    """Of the stalls that have come, in their order."""
    return [round(attributes(e.attributes)["xctl.stall.duration"], 3) for e in receiver.events()]


def read_request(connection):
    """All of it: a server that closes with unread bytes resets the connection."""
    with connection.makefile("rb") as file:
        length = 0
        for line in iter(file.readline, b"\r\n"):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        file.read(length)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def test_what_is_put_arrives(start, receiver, lines):
    made = start(receiver.url)
    made.put([moved(1_009), stalled(137)])
    made.put([moved(2_003), stalled(139)])
    receiver.wait_for(lambda: receiver.total("process.network.io") == 3_012)
    receiver.wait_for(lambda: durations(receiver) == [0.137, 0.139])
    (_, headers, _) = receiver.requests[-1]
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Content-Encoding"] == "gzip"
    assert made.dropped() == 0
    (of_resource, *_) = receiver.messages(LOGS)[0].resource_logs
    assert attributes(of_resource.resource.attributes)["host.name"] == "node7"
    assert of_resource.scope_logs[0].scope.name == "xctl-probe-network"
    assert lines.lines == []


def test_the_end_sends_what_is_left(start, receiver):
    """However long the next message is away."""
    made = start(receiver.url, metrics_s=3_600)
    made.put([moved(1_009), stalled(137)])
    made.close(ENOUGH_S)
    receiver.wait_for(lambda: receiver.total("process.network.io") == 1_009)
    receiver.wait_for(lambda: durations(receiver) == [0.137])


def test_the_path_of_the_address_comes_first(start, receiver):
    """As that of Prometheus."""
    made = start(f"{receiver.url}/api/v1/otlp", metrics_only=True)
    made.put([moved(1_009)])
    receiver.wait_for(lambda: receiver.messages("/api/v1/otlp/v1/metrics"))


def test_metrics_only(start, receiver):
    made = start(receiver.url, metrics_only=True)
    made.put([moved(1_009), stalled(137)])
    receiver.wait_for(lambda: receiver.total("process.network.io") == 1_009)
    made.close(ENOUGH_S)
    assert receiver.messages(LOGS) == []
    assert made.dropped() == 0


def test_a_receiver_that_is_away_gets_the_sums_and_the_newest_events(start, lines, monkeypatch):
    """Nothing of the sums is lost; of the events, what the queue has no room for."""
    monkeypatch.setattr(exporter, "Backlog", lambda: Backlog(5))
    port = closed_port()
    made = start(f"http://127.0.0.1:{port}")
    made.put([stalled(1)])
    (line,) = lines.wait_for(1)
    assert line == (
        f"--otlp http://127.0.0.1:{port}: connection refused; events wait in a queue of bounded "
        "length, sums go on, and the stream does not wait"
    )
    dropped = 0
    for number in range(2, 25):
        made.put([moved(1_009), stalled(number)])
    while dropped < 18:  # 24, without five that wait, and the one that was tried
        dropped += made.dropped()
    receiver = Receiver(port=port)
    try:
        receiver.wait_for(lambda: receiver.total("process.network.io") == 23 * 1_009)
        receiver.wait_for(lambda: len(receiver.events()) == 6)
        assert durations(receiver) == [0.001, 0.020, 0.021, 0.022, 0.023, 0.024]
        assert dropped + made.dropped() == 18
        (_, second) = lines.wait_for(2)
        assert second.endswith(": it takes all again; 18 events or points were dropped")
        made.close(ENOUGH_S)
        assert len(lines.lines) == 2
    finally:
        receiver.close()


def test_a_receiver_that_does_not_answer_holds_nothing_up(start, receiver, lines, monkeypatch):
    """Sums go on while a request waits; the events of it are sent again."""
    monkeypatch.setattr(exporter, "Client", lambda url: client.Client(url, 0.2))
    receiver.answers(LOGS, 0)
    made = start(receiver.url)
    made.put([stalled(137)])
    (line,) = lines.wait_for(1)
    assert ": no answer in time; " in line
    for _ in range(23):
        made.put([moved(1_009)])
    receiver.answers(LOGS, 200)
    receiver.wait_for(lambda: receiver.total("process.network.io") == 23 * 1_009)
    lines.wait_for(2)
    assert set(durations(receiver)) == {0.137}
    assert made.dropped() == 0


def test_a_request_that_takes_too_long_is_aborted(start, receiver, lines, monkeypatch):
    """Of a receiver that answers a byte at a time: each byte renews the time of the socket."""
    monkeypatch.setattr(exporter, "_LONGEST_REQUEST_S", 0)
    receiver.answers(LOGS, 0)
    made = start(receiver.url)
    made.put([stalled(137)])
    receiver.wait_for(lambda: receiver.messages(LOGS))
    made.put([])
    (line,) = lines.wait_for(1)
    assert ": the connection was closed without an answer; " in line
    receiver.answers(LOGS, 200)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_be_taken_later_is_sent_again(start, receiver, lines, status):
    receiver.answers(LOGS, status)
    made = start(receiver.url)
    made.put([moved(1_009), stalled(137)])
    (line,) = lines.wait_for(1)
    assert f": /v1/logs: {status} " in line
    receiver.answers(LOGS, 200)
    assert lines.wait_for(2)[1].endswith("it takes all again; nothing was dropped")
    assert set(durations(receiver)) == {0.137}
    receiver.wait_for(lambda: receiver.total("process.network.io") == 1_009)
    assert made.dropped() == 0


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_what_is_refused_is_counted_and_not_sent_again(start, receiver, lines, status):
    receiver.answers(LOGS, status, Location="/elsewhere")
    made = start(receiver.url)
    made.put([moved(1_009), stalled(137), stalled(139)])
    (line,) = lines.wait_for(1)
    assert f": /v1/logs: {status} " in line
    assert line.endswith("; what it does not take is counted as PROBE_LOST")
    made.put([stalled(149)])
    receiver.wait_for(lambda: durations(receiver) == [0.137, 0.139, 0.149])
    receiver.wait_for(lambda: receiver.total("process.network.io") == 1_009)
    receiver.answers(LOGS, 200)
    made.put([stalled(151)])
    assert lines.wait_for(2)[1].endswith("; 3 events or points were dropped")
    assert made.dropped() == 3
    assert len(lines.lines) == 2


def test_a_part_that_is_rejected_is_counted(start, receiver, lines):
    logs, points = ExportLogsServiceResponse(), ExportMetricsServiceResponse()
    logs.partial_success.rejected_log_records = 1
    logs.partial_success.error_message = "too old\n\x1b[2J"
    points.partial_success.rejected_data_points = 7
    receiver.answers(LOGS, 200, logs.SerializeToString())
    made = start(receiver.url, metrics_s=3_600)
    made.put([stalled(137), stalled(139), moved(1_009)])
    (line,) = lines.wait_for(1)
    assert ": /v1/logs: 1 of 2 rejected: too old" in line
    receiver.answers(METRICS, 200, points.SerializeToString())
    made.close(ENOUGH_S)
    assert made.dropped() == 8
    assert ": /v1/metrics: 7 of " in lines.lines[1]


def test_a_warning_of_the_receiver_rejects_nothing(start, receiver, lines):
    logs = ExportLogsServiceResponse()
    logs.partial_success.error_message = "deprecated"
    receiver.answers(LOGS, 200, logs.SerializeToString())
    made = start(receiver.url)
    made.put([stalled(137)])
    receiver.wait_for(lambda: durations(receiver) == [0.137])
    made.close(ENOUGH_S)
    assert (lines.lines, made.dropped()) == ([], 0)


def test_an_answer_that_is_no_message_is_no_success(start, receiver, lines):
    """Of any web server."""
    receiver.answers(LOGS, 200, b"<!doctype html>", Content_Type="text/html")
    made = start(receiver.url)
    made.put([stalled(137)])
    (line,) = lines.wait_for(1)
    assert "the answer is no message of OTLP; is that a receiver of OTLP/HTTP?" in line
    made.close(ENOUGH_S)
    assert made.dropped() == 1


def test_what_is_left_at_the_end_is_reported(start, lines):
    made = start(f"http://127.0.0.1:{closed_port()}")
    made.put([stalled(137), stalled(139)])
    lines.wait_for(1)
    made.close(ENOUGH_S)
    assert lines.lines[1].endswith(": the run is over; 2 events were not sent")


def test_a_connection_that_the_receiver_closed_is_opened_again(start, lines):
    """Between two requests, as after an idle minute."""
    served = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        read_request(connection)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        served.append(None)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = parse(f"http://127.0.0.1:{listener.getsockname()[1]}")
        made = client.Client(url)
        for _ in range(3):
            assert made.post(LOGS, b"") == client.Answer()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(ENOUGH_S)
    assert len(served) == 3


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x0a\x00", ""),
    ],
)
def test_any_server_may_answer(answer, problem):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        made = client.Client(parse(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        found = made.post(LOGS, b"")
        assert (found.problem, found.answered) == (problem, not problem)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that signs itself, with its key."""
    require_tools("openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-keyout", "-", "-out", "-"]
    done = subprocess.run(["openssl", "req", *words, *key], check=True, capture_output=True)
    path.write_bytes(done.stdout)
    return path


@pytest.mark.parametrize("known", [True, False])
def test_https_is_for_certificates_that_the_system_accepts(certificate, monkeypatch, known):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate) if known else os.devnull)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with suppress(OSError), context.wrap_socket(listener, server_side=True) as secure:
                connection, _ = secure.accept()
                with connection:
                    read_request(connection)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        port = listener.getsockname()[1]
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        found = client.Client(parse(f"https://localhost:{port}")).post(LOGS, b"")
        thread.join(ENOUGH_S)
    assert found.problem.startswith("" if known else "its certificate is not accepted: self")
    assert found.answered == known


@pytest.mark.parametrize(
    ("host", "problem"),
    [("no-such-host.invalid", "the name of the host is not known"), ("a" * 70, "label")],
)
def test_a_name_without_an_address_is_a_failure_that_may_pass(host, problem):
    found = client.Client(parse(f"http://{host}:4318")).post(LOGS, b"")
    assert problem in found.problem
    assert (found.retry, found.answered) == (True, False)


def test_a_request_that_waits_can_be_aborted(receiver):
    receiver.answers(LOGS, 0)
    made = client.Client(parse(receiver.url), ENOUGH_S)
    found = []
    thread = threading.Thread(target=lambda: found.append(made.post(LOGS, b"")))
    thread.start()
    receiver.wait_for(lambda: receiver.messages(LOGS))
    made.abort()
    thread.join(ENOUGH_S)
    assert (found[0].retry, found[0].answered) == (True, False)


@pytest.mark.parametrize(
    ("after", "expected"),
    [("7", 7), ("9999", 300), ("9" * 5_000, 300), ("Fri, 31 Dec 1999", None), ("", None)],
)
def test_retry_after_is_kept_to(receiver, after, expected):
    receiver.answers(LOGS, 503, Retry_After=after)
    found = client.Client(parse(receiver.url)).post(LOGS, b"")
    assert (found.problem, found.retry, found.after_s) == (
        "503 Service Unavailable",
        True,
        expected,
    )


def test_a_receiver_that_comes_and_goes_has_few_lines():
    found = []
    reports = Reports("url", found.append)
    for _ in range(97):
        reports.failed("", "connection refused", "later")
        reports.failed("", "no answer in time", "later")
        reports.worked(LOGS)
    assert len(found) == 12
    assert found[0] == "--otlp url: connection refused; later"
    assert found[1] == "--otlp url: it takes all again; nothing was dropped"


def test_all_is_well_once_both_paths_are():
    found = []
    reports = Reports("url", found.append)
    reports.failed(LOGS, "404", "counted")
    reports.worked(METRICS)
    reports.failed("", "connection refused", "later")
    reports.worked(METRICS)
    assert len(found) == 2
    reports.worked(LOGS)
    assert found[2] == "--otlp url: it takes all again; nothing was dropped"


def test_the_backlog_keeps_the_newest_and_hands_out_the_oldest():
    backlog = Backlog(1_000)
    assert backlog.put(map(stalled, range(1_003))) == 3
    assert len(backlog) == 1_000
    first = backlog.take()
    assert (len(first), first[0]) == (512, stalled(3))
    assert backlog.put([stalled(7)]) == 0
    assert backlog.clear() == 489
    assert backlog.take() == []
