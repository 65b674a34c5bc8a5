"""Metrics of real traffic: what Prometheus and node_exporter read is what the records have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest
from support.conversation import ANSWER, answered, unanswered
from support.metrics import parsed, total, values
from support.namespace import end, spawn
from support.require import require_tools
from support.waiting import until
from unit.prometheus.test_http import PROMETHEUS_2

BULK_BYTES = 20_000_003
ALL = ("--min-bw", "0")
PIDS = ("--prometheus-pids", "1000")


@pytest.fixture
def get(netns):
    """What a client in the namespace gets: status and content."""

    def fetch(url, *headers):
        words = [one for header in headers for one in ("-H", header)]
        done = subprocess.run(
            [*netns.command(), "curl", "-s", "-m", "20", "-w", "\n%{http_code}", *words, url],
            capture_output=True,
            check=False,
            timeout=60,
        )
        content, _, status = done.stdout.rpartition(b"\n")
        return int(status), content

    require_tools("curl")
    return fetch


@pytest.fixture
def served(probe):
    """Start a probe with metrics; it and the address of these."""

    def start(*options, **more):
        running = probe("--prometheus", "0", *options, **more)
        (url,) = re.findall(rb"metrics at (http://127\.0\.0\.1:\d+/metrics)", running.stderr)
        return running, url.decode()

    return start


@pytest.fixture
def moved(worker):
    """Move known bytes: the pids of sender and receiver."""

    def move(count=BULK_BYTES):
        sender, receiver = worker(), worker()
        port = receiver.ask("listen")["port"]
        sender.connect("127.0.0.1", port)
        receiver.ask("accept")
        receiver.begin("recv", count)
        assert sender.ask("send", count)["bytes"] == count
        assert receiver.expect("recv")["bytes"] == count
        sender.ask("settle")
        return sender.pid, receiver.pid

    return move


@pytest.fixture
def program(netns):
    """Start programs in the namespace, with a folder each; they end with the test."""
    started, folders = [], []

    def start(name, *options, files=()):
        require_tools(name)
        folders.append(Path(tempfile.mkdtemp(prefix=f"{name}-")))
        for file, content in files:
            (folders[-1] / file).write_text(content)
        words = [*netns.command("root"), name, *(str(o).format(folders[-1]) for o in options)]
        started.append(spawn(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield start
    for process in started:
        end(process)
    for folder in folders:
        shutil.rmtree(folder)


CONFIG = """
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: xctl-probe-network
    static_configs:
      - targets: ["{}"]
"""


@pytest.fixture
def prometheus(program, get):
    """Start Prometheus on an address to scrape; it answers queries with labels and values."""

    def start(url):
        target = url.removeprefix("http://").removesuffix("/metrics")
        program(
            "prometheus",
            "--config.file={}/prometheus.yml",
            "--storage.tsdb.path={}/data",
            "--web.listen-address=127.0.0.1:9090",
            files=[("prometheus.yml", CONFIG.format(target))],
        )

        def query(expression):
            text = urllib.parse.urlencode({"query": expression})
            status, content = get(f"http://127.0.0.1:9090/api/v1/query?{text}")
            if status != 200:  # it has not started yet
                return []
            result = json.loads(content)["data"]["result"]
            return [(one["metric"], float(one["value"][1])) for one in result]

        return query

    return start


def test_prometheus_has_the_bytes_of_the_records(served, prometheus, moved, backend):
    """Known traffic by two processes: exact in Prometheus, in the records, and in the kernel."""
    running, url = served(*ALL, *PIDS)
    query = prometheus(url)
    until(lambda: query("up == 1"))
    sender, receiver = moved()

    def bytes_of(pid, direction):
        found = query(f'sum(xctl_net_process_bytes_total{{pid="{pid}",direction="{direction}"}})')
        return found[0][1] if found else 0

    tolerance = BULK_BYTES * backend.bytes_tolerance
    until(lambda: BULK_BYTES - bytes_of(sender, "send") <= tolerance)
    until(lambda: BULK_BYTES - bytes_of(receiver, "receive") <= tolerance)
    running.wait_for_intervals(2)
    until(lambda: bytes_of(sender, "send") == running.consumer.sent_bytes(sender))
    until(lambda: bytes_of(receiver, "receive") == running.consumer.received_bytes(receiver))
    if not backend.bytes_tolerance:
        assert bytes_of(sender, "send") == bytes_of(receiver, "receive") == BULK_BYTES
    (labels, _), *_ = query(f'xctl_net_process_bytes_total{{pid="{sender}"}}')
    assert (labels["job"], labels["interface"]) == ("xctl-probe-network", "lo")
    # On a busy host an answer may take longer than Prometheus waits, but not each of them.
    until(lambda: query("up == 1"))
    running.stop()


def test_the_counters_have_the_sums_of_all_records(served, get, moved, worker):
    """Bytes of each kind, and the time that sockets waited: records have whole milliseconds."""
    running, url = served(*ALL)
    moved()
    name = f"waits-{os.getpid()}"  # a suite that runs beside this one has another
    server, client = worker(), worker(comm=name.encode())
    client.connect("127.0.0.1", server.ask("listen")["port"])
    server.ask("accept")
    answered(server, client)
    unanswered(server, client)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    server.ask("send", ANSWER)
    client.expect("ask")
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    running.wait_for_intervals(1)

    def sums():
        """Of the metrics and of the records, once both have the same intervals."""
        text = get(url)[1]
        last_ms = int(total(text, "probe_last_interval_timestamp_seconds") * 1_000)
        with running._changed:
            records = [r for r in running.consumer.records if r.ts <= last_ms]
        by_process = [r.net for r in records if r.event_type == "transport.bw" and r.pid]
        of_interface = [r.net for r in records if r.event_type == "transport.bw" and not r.pid]
        # Others on this host may wait meanwhile.
        stalls = [r for r in records if r.event_type == "transport.drop" and r.pid == client.pid]
        over = [r for r in stalls if not r.ongoing]
        found = [
            total(text, "process_bytes_total"),
            total(text, "interface_bytes_total"),
            total(text, "interface_unattributed_bytes_total"),
            total(text, "waiting_sockets", comm=name),
            total(text, "wait_seconds_total", comm=name) * 1_000 // 1,
        ]
        expected = [
            sum(net["rx_bytes"] + net["tx_bytes"] for net in by_process),
            sum(net["rx_bytes"] + net["tx_bytes"] for net in of_interface),
            sum(net["unattributed_bytes"] for net in of_interface),
            0,
            sum(r.net["duration_ms"] for r in over),
        ]
        exact, waited, count = found[:-1] == expected[:-1], found[-1] - expected[-1], len(over)
        return exact and 0 <= waited <= count, found, expected

    try:
        until(lambda: sums()[0])
    except AssertionError:
        pytest.fail(str(sums()))
    running.stop()


def test_loads_are_metrics_where_they_are_measured(served, get, worker):
    """Of an idle process, too, which has no record."""
    _, url = served("--metrics", "bandwidth,process")
    server, client = worker(comm=b"computes"), worker(comm=b"idles")
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    answered(server, client)

    def now(name, comm):
        return total(get(url)[1], name, comm=comm)

    for comm in ("idles", "computes"):  # the first reading of each begins its count
        until(lambda comm=comm: now("process_resident_memory_bytes", comm) > 0)
    server.ask("compute", 300)
    until(lambda: float(now("process_cpu_seconds_total", "computes")) >= 0.25)


def test_a_peer_that_computes_is_a_straggler(served, get, worker):
    """Time that a process waits for it, with its name and what it does."""
    running, url = served()
    server, client = worker(comm=b"straggler"), worker(comm=b"waiter")
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    answered(server, client)
    unanswered(server, client)
    server.begin("compute", 60_000)
    labels = {"comm": "waiter", "peer_comm": "straggler", "peer_state": "running"}

    def waits():
        return total(get(url)[1], "wait_seconds_total", **labels)

    first = until(waits)
    until(lambda: waits() > first)
    ((found, _),) = values(get(url)[1], "waiting_sockets", **labels)
    assert (found["direction"], found["cause"]) == ("receive", "no_reply")
    running.stop()


NAMES = [b'"}\n{"a":0,"\\', b"\x1b[2J\x1b[31mred", b"\xff\xfe\xc3(\x80\xf0\x9f", b'\\\\\\"\n\n#']


def test_hostile_names_are_labels(served, get, worker):
    """Both formats are valid to their parsers and to promtool, and no name is missing."""
    require_tools("promtool")
    running, url = served(*PIDS)
    clients = {}
    for name in NAMES:
        server, client = worker(comm=name), worker(comm=name)
        port = server.ask("listen")["port"]
        client.connect("127.0.0.1", port)
        server.ask("accept")
        answered(server, client)
        unanswered(server, client)
        clients[str(client.pid)] = name

    def pids():
        return {labels.get("pid") for labels, _ in values(get(url)[1], "wait_seconds_total")}

    until(lambda: pids() >= clients.keys())
    status, text = get(url)
    assert status == 200
    for labels, _ in values(text, "wait_seconds_total"):
        assert labels["comm"].isprintable()
    openmetrics = get(url, f"Accept: {PROMETHEUS_2}")[1]
    assert openmetrics.endswith(b"# EOF\n")
    parsed(openmetrics, as_openmetrics=True)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    running.stop()


def test_clients_that_send_half_a_request_hold_nothing_up(served, get, netns, moved, installed):
    """More of them than the probe serves at a time; intervals pass and others are answered."""
    running, url = served(*ALL)
    port = url.rpartition(":")[2].partition("/")[0]
    script = (
        "import socket,sys,time\n"
        f"made=[socket.create_connection(('127.0.0.1',{port})) for _ in range(100)]\n"
        "[one.send(b'GET /metrics HTTP/1.1\\r\\n') for one in made]\n"
        "print('ready',flush=True); sys.stdin.read()\n"
    )
    words = [*netns.command(), str(installed.python), "-c", script]
    held = spawn(words, stdin=subprocess.PIPE)
    try:
        assert held.stdout.readline() == b"ready\n"
        moved()
        running.wait_for_intervals(3)
        for _ in range(23):
            assert get(url)[0] == 200
        assert get(url.replace("/metrics", "/healthz")) == (200, b"ok\n")
    finally:
        end(held)
    assert "stdout" not in running.stop().losses()


def test_health_and_other_paths(served, get):
    """While intervals pass; tests/unit has what comes when they do not."""
    running, url = served()
    assert get(url.replace("/metrics", "/healthz")) == (200, b"ok\n")
    assert get(url.replace("/metrics", "/other"))[0] == 404
    running.stop()


def test_node_exporter_reads_the_file(probe, program, get, moved, backend):
    """Its textfile collector has the bytes of the records; at the end the file is gone."""
    folder = Path(tempfile.mkdtemp(prefix="metrics-"))
    folder.chmod(0o777)
    try:
        path = folder / "xctl.prom"
        running = probe("--prometheus-file", path, *PIDS, *ALL)
        program(
            "prometheus-node-exporter",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={folder}",
            "--web.listen-address=127.0.0.1:9100",
        )
        sender, _ = moved()
        url = "http://127.0.0.1:9100/metrics"

        def sent():
            rows = get(url)[1].decode().splitlines()
            found = [row for row in rows if f'pid="{sender}"' in row and '"send"' in row]
            return sum(float(row.rpartition(" ")[2]) for row in found)

        until(lambda: BULK_BYTES - sent() <= BULK_BYTES * backend.bytes_tolerance)
        until(lambda: sent() == running.consumer.sent_bytes(sender))
        assert b"node_textfile_scrape_error 0\n" in get(url)[1]
        running.stop()
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_a_probe_with_a_long_interval_is_not_late(start_probe):
    """Before its first interval the file has the time of the start."""
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        Path(folder).chmod(0o777)
        path = Path(folder) / "xctl.prom"
        before = int(time.time())
        start_probe(*("--backend", "proc", "--interval", "300", "--prometheus-file", str(path)))
        text = until(lambda: path.exists() and path.read_bytes())
        assert total(text, "probe_intervals_total") == 0
        assert before <= total(text, "probe_last_interval_timestamp_seconds") <= time.time()


def test_a_full_disk_does_not_stop_the_stream(probe, netns, backend):
    """One line on stderr; the last whole file stays, and is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="metrics-"))
    folder.chmod(0o777)
    try:
        running = probe("--prometheus-file", folder / "xctl.prom")
        before = (folder / "xctl.prom").read_bytes()
        assert before.endswith(b"\n")
        words = [*netns.command(backend.user), "prlimit", f"--pid={running.pid}", "--fsize=0"]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        running.wait_for_stderr("File too large; the file is old until a write succeeds")
        running.wait_for_intervals(3)
        assert (folder / "xctl.prom").read_bytes().endswith(b"\n")
        running.stop()
        assert running.stderr.count(b"File too large") == 1
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_an_address_that_is_taken_is_one_line(served, installed, netns, backend):
    running, url = served()
    address = url.removeprefix("http://").removesuffix("/metrics")
    done = subprocess.run(
        [
            *netns.command(backend.user),
            installed.command,
            *backend.options,
            "--prometheus",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")  # it may be free later
    (line,) = done.stderr.splitlines()
    assert line.endswith(
        f"--prometheus {address}: another program listens there; give another port"
    )
    running.stop()


def test_only_the_address_that_was_given_is_served(probe, netns, distant, installed):
    """Loopback without one; another of this host, IPv6 too, where it is given."""
    first = probe("--prometheus", "9599")
    second = probe("--prometheus", "[::1]:9599")
    third = probe("--prometheus", "10.23.29.1:9599")
    reach = "import socket,sys; sys.exit(socket.socket().connect_ex((sys.argv[1],9599)))"

    def reached(place, host):
        words = [*place.command(), str(installed.python), "-c", reach, host]
        return subprocess.run(words, check=False, timeout=60).returncode == 0

    assert b"http://[::1]:9599/metrics" in second.stderr
    assert reached(netns, "127.0.0.1")
    assert reached(distant, "10.23.29.1")
    third.stop()
    assert not reached(distant, "10.23.29.1")
    for one in (first, second):
        one.stop()
