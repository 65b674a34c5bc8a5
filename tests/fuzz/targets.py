"""What is fuzzed: each takes any bytes, and may raise only what its callers expect."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from support.consumer_model import Consumer

from fuzz.kernels_side import BatchLookup, Diag, Table, netlink, parts, ring_file
from xctl_probe import cli
from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.bcc import kernel, maps
from xctl_probe.commands import stream, trace
from xctl_probe.commands.recorded import clock_text
from xctl_probe.commands.status.report import shown, verdict
from xctl_probe.commands.status.report import to_json as to_status_json
from xctl_probe.commands.status.report import to_text as to_status_text
from xctl_probe.commands.top.model import Model
from xctl_probe.commands.why.diag_sampler import DiagSampler
from xctl_probe.commands.why.proc_sampler import ProcSampler, socket_fds, udp_sockets
from xctl_probe.commands.why.threads import read_threads
from xctl_probe.config.file import read_file
from xctl_probe.ebpf.abi import PROCESS_KEY, PROCESS_TRAFFIC, RECORD, decode_process
from xctl_probe.ebpf.attach_variants import kernel_names
from xctl_probe.ebpf.batches import read_batches
from xctl_probe.ebpf.call_trace import CALL, Call
from xctl_probe.ebpf.process_totals import ProcessTotals
from xctl_probe.ebpf.programs import LoadedPrograms
from xctl_probe.ebpf.ringbuf import Ring
from xctl_probe.ebpf.source import RunningSource
from xctl_probe.errors import SourceUnavailable, UsageError
from xctl_probe.events import Direction, Event, Socket, Stall
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import StallRecord
from xctl_probe.exporters.text import to_text
from xctl_probe.fallback.proc_net import ProcNet
from xctl_probe.fallback.sock_diag import decode
from xctl_probe.fallback.socket_table import SocketTable
from xctl_probe.fleet.scan import Asked, Task, scan
from xctl_probe.linux import capabilities, procfs, socket_owners
from xctl_probe.linux.socket_waits import SocketWaits, What, socket_waits
from xctl_probe.linux.syscalls import call_of, epoll_watches
from xctl_probe.linux.threads import blocked_threads
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.http import Answer, answer, content_type
from xctl_probe.protocols.names import Names, Sample
from xctl_probe.recordings.history import Coverage, Stalls
from xctl_probe.recordings.members import pack
from xctl_probe.recordings.reader import Recording
from xctl_probe.sources import privileges
from xctl_probe.status.client import Found, decoded

STALL_NS, SECOND_NS = 100_000_000, 1_000_000_000
NOW_MS = 1_700_000_000_123
EVERYTHING = Filter(min_mbps=0.0, loopback=True)
PID, FD, INODE = 233, 7, 4_241
METRIC = re.compile(r"#.*|xctl_net_\w+(\{.*\})? [0-9]+(\.[0-9]{9})?")


class Interfaces:
    """All addresses are of one interface: the host's own would make runs differ."""

    def of(self, *_: object) -> str:
        return "eth0"

    def refresh(self) -> bool:
        return False


class Owners(socket_owners.Owners):
    """The search of the probe's thread, without one: it is over at once."""

    is_searching = False

    asked: list[int]

    def search_for(self, askers: Mapping[int, int | None]) -> set[int]:
        self.asked = list(askers)
        return self.search(askers.keys())

    def finished(self) -> list[int]:
        return self.asked

    def is_pending(self, _inode: int) -> bool:
        return False


class Processes:
    """What the helper reads, read here."""

    def begin(self) -> None:
        pass

    def waits(self, pid: int, what: What) -> SocketWaits:
        return socket_waits(pid, what, _proc().path)


def written(events: Iterable[Event]) -> None:
    """Whatever came in, what goes out is a record that the consumer takes, and a metric."""
    consumer = Consumer(now_ms=lambda: NOW_MS)
    records = list(aggregate(events, EVERYTHING, SECOND_NS, NOW_MS))
    collector = Collector(SECOND_NS, ("", "fuzz"), pids=1, uid_of=lambda _pid: -1)
    collector.add(records, SECOND_NS, NOW_MS)
    for row in collector.registry.text().decode().splitlines():
        assert METRIC.fullmatch(row), row
    for record in records:
        line = to_line(record)
        assert len(line) <= 4096, line
        assert consumer.feed(line)
        assert to_text(record).isascii()


def netlink_messages(data: bytes) -> None:
    """A dump of anything: samples, or the kernel's error."""
    with contextlib.suppress(OSError):
        for payload in netlink(data).dump(18, b""):
            sample = decode(payload)
            if sample is not None:
                _ = (sample.sent_payload, sample.received_payload, sample.written, sample.opened)


def sampler(data: bytes) -> None:
    """Three samples and the closings between them, from netlink bytes to lines."""
    diag = Diag()
    holders = Owners(_proc().path)
    connections = SocketTable(diag, holders, Interfaces(), STALL_NS, Processes())  # type: ignore[arg-type]
    pieces = parts(data, 6)
    with contextlib.suppress(OSError):
        for number, (dump, closed) in enumerate(zip(pieces[::2], pieces[1::2], strict=True)):
            diag.next(dump, closed)
            written(connections.collect(number * SECOND_NS + 1, SECOND_NS))


def why_samples(data: bytes) -> None:
    """The same bytes as `why` reads them."""
    samples = DiagSampler()
    messages: list[bytes] = []
    with contextlib.suppress(OSError):
        for number, dump in enumerate(parts(data, 2)):
            messages = [m for m in netlink(dump).dump(18, b"") if len(m) >= 72]
            inodes = [int.from_bytes(m[68:72], "little") for m in messages]
            samples.sample(messages, inodes, number * SECOND_NS + 1)
            samples.tcp(dict.fromkeys(inodes, FD), messages, SECOND_NS)


def kernel_source(data: bytes) -> None:
    """Records of the iterators and of the ring, endpoints, processes: all the kernel's."""
    tables = parts(data, 5)

    class Programs:
        def map(self, name: str, key_bytes: int, value_bytes: int) -> Table:
            return Table(tables[0 if name.endswith("processes") else 1], key_bytes, value_bytes)

        def per_cpu_sums(self, _name: str, entries: int) -> list[int]:
            return [*tables[1][:entries], *[0] * (entries - len(tables[1]))]

        def missed_runs(self) -> int:
            return len(tables[1])

    class Messages:
        fd = None

        def records(self) -> list[bytes]:
            step = max(tables[4][0] if tables[4] else 0, RECORD.size)
            return [tables[4][i : i + step] for i in range(0, len(tables[4]), step)]

    def rows(chunk: bytes) -> SimpleNamespace:
        return SimpleNamespace(run=lambda: chunk)

    running = LoadedPrograms("x", Programs(), Messages(), rows(tables[2]), rows(tables[3]), ())  # type: ignore[arg-type]
    source = RunningSource(running, STALL_NS)
    for number in range(1, 3):
        source.poll(number * SECOND_NS)
        written(source.drain(number * SECOND_NS).events)


def ring(data: bytes) -> None:
    """A ring buffer whose positions and headers are anything."""
    size = 1 << 12
    with ring_file(data, size) as fd:
        for layout, record_bytes in ((None, 0), (None, RECORD.size), (CALL, 0)):
            reader = Ring(fd, size, record_bytes)
            try:
                found = reader.batch(layout) if layout else list(reader.records())
                assert sum(map(len, found)) <= size
                for row in found if layout else ():
                    call = Call._make(row)
                    assert trace._json(call).isascii()
                    assert trace._text(call).isascii()
            finally:
                reader.close()


def tables(data: bytes) -> None:
    """Maps read in batches, and what the process map has in them."""
    with contextlib.suppress(OSError):
        found = list(read_batches(BatchLookup(data), PROCESS_KEY.size, PROCESS_TRAFFIC.size))
        for key, value in found:
            decode_process(key, value)
    processes = ProcessTotals(Table(data, PROCESS_KEY.size, PROCESS_TRAFFIC.size))
    for _ in range(2):
        written(processes.traffic(SimpleNamespace(name=lambda *_: "eth0")))  # type: ignore[arg-type]


def kernel_files(data: bytes) -> None:
    """What /sys and /proc show of the kernel: BTF, symbols, processors, capabilities."""
    folder = _proc()
    folder.write("btf", data)
    with contextlib.suppress(SourceUnavailable):
        kernel_names(folder.path / "btf")
    kernel.symbols(["tcp_sendmsg"], folder.path / "btf")
    with contextlib.suppress(SourceUnavailable):
        maps.possible_cpus(folder.path / "btf")
    folder.write("self/status", data)
    capabilities.missing(folder.path)


class _Proc:
    """A /proc with one process, in memory."""

    def __init__(self) -> None:
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shm))
        for folder in (f"{PID}/fd", f"{PID}/fdinfo", f"{PID}/task/{PID}", f"{PID}/net", "self/ns"):
            (self.path / folder).mkdir(parents=True)
        (self.path / "net").symlink_to(f"{PID}/net")
        (self.path / "self/ns/user").symlink_to("/proc/self/ns/user")
        (self.path / f"{PID}/fd/{FD}").symlink_to("anon_inode:[eventpoll]")
        (self.path / f"{PID}/fd/3").symlink_to(f"socket:[{INODE}]")
        self.write(f"{PID}/stat", f"{PID} (x) {' '.join('1' * 50)}".encode())

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def link(self, name: str, target: bytes) -> None:
        path = os.fsencode(self.path / name)
        with contextlib.suppress(OSError, ValueError):
            os.unlink(path)
            os.symlink(target, path)


_THE_PROC: list[_Proc] = []


def _proc() -> _Proc:
    if not _THE_PROC:
        _THE_PROC.append(_Proc())
    return _THE_PROC[0]


PROC_FILES = (
    f"{PID}/stat", f"{PID}/task/{PID}/stat", f"{PID}/task/{PID}/wchan",
    f"{PID}/task/{PID}/syscall", f"{PID}/task/{PID}/sched", f"{PID}/fdinfo/{FD}",
    "net/tcp", "net/tcp6", "net/udp",
)  # fmt: skip


def proc_files(data: bytes) -> None:
    """Every file of /proc that is parsed; they come apart at zero bytes."""
    proc = _proc()
    pieces = data.split(b"\0", len(PROC_FILES))
    for name, content in zip_longest(PROC_FILES, pieces[: len(PROC_FILES)], fillvalue=b""):
        proc.write(name, content)
    proc.link(f"{PID}/fd/3", pieces[-1][:80] or b"socket:[4241]")
    proc_root = proc.path
    procfs.read_process(PID, proc_root)
    holders = Owners(proc_root)
    holders.search([INODE])
    holders.is_current(INODE)
    holders.get(INODE)
    blocked_threads(PID, proc_root)
    for what in What:
        socket_waits(PID, what, proc_root)
    net = ProcNet(holders, Interfaces(), STALL_NS, Processes(), proc_root)  # type: ignore[arg-type]
    for number in range(1, 4):
        written(net.collect(number * SECOND_NS, SECOND_NS))
    read_threads(PID, proc_root)
    call_of(pieces[0].decode("ascii", "replace"), PID, proc_root)
    epoll_watches(PID, FD, proc_root)
    fds = socket_fds(PID, proc_root)
    samples = ProcSampler(PID, proc_root)
    samples.sample([*fds, INODE])
    samples.tcp(fds | {INODE: 3})
    udp_sockets(PID, fds | {INODE: 3}, proc_root)


def settings_file(data: bytes) -> None:
    """A configuration file: settings, or a mistake that is named."""
    path = _proc().path / "probe.toml"
    path.write_bytes(data)
    with contextlib.suppress(UsageError):
        read_file(path)
    taken(["--config", str(path)], {})


# These do something else than read settings.
OTHER_WORK = ("check", "top", "why", "--trace", "--install-completion", "--show-completion")


def command_line(data: bytes) -> None:
    """Words and variables: settings, or a mistake that is named, and never a traceback."""
    head, *words = [os.fsdecode(word) for word in data.split(b"\0")[:12]]
    if any(word.startswith(OTHER_WORK) for word in words):
        return
    variables = {}
    for line in head.split("\n")[:8]:
        name, _, value = line.partition("=")
        if name in VARIABLES:
            variables[name] = value
    taken(words, variables)


VARIABLES = {
    f"XCTL_NETWORK_{name}"
    for name in ("INTERVAL", "DURATION", "STALL_MS", "MIN_BW", "PID", "INTERFACE", "LOOPBACK",
                 "BACKEND", "ATTACH", "FORMAT", "NO_SOCK_DIAG", "CONFIG", "VERBOSE")
}  # fmt: skip


def taken(words: list[str], variables: dict[str, str]) -> None:
    """The command took it, or printed one line with the reason."""
    code, printed = run_command(words, variables)
    assert code in (0, 1, 2), (code, words)
    assert code == 0 or len(printed) == 1, (code, words, printed)


def run_command(words: list[str], variables: dict[str, str]) -> tuple[object, list[str]]:
    """Up to the point where it would open a source: its exit code and its output."""
    printed: list[str] = []

    def refuse(_settings: object) -> None:
        raise SourceUnavailable("as far as it goes")

    to_person = SimpleNamespace(report=printed.append, fail=printed.append)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("XCTL_")}
    with (
        mock.patch.dict(os.environ, clean | variables, clear=True),
        mock.patch.object(sys, "argv", ["xctl-probe-network", *words]),
        mock.patch.object(stream, "open_source", refuse),
        mock.patch.object(privileges, "give_up_others"),  # for good, and this process goes on
        mock.patch.object(cli, "Diagnostics", return_value=to_person),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            cli.main()
        except SystemExit as left:
            return left.code, printed
    return 0, printed


def http_request(data: bytes) -> None:
    """A request: as it is, and as the value of a field that is read."""
    handlers = {"/metrics": lambda accept: Answer(200, b"", content_type(accept))}
    whole = b"GET /metrics HTTP/1.1\r\nAccept: %b\r\n\r\n" % data
    for request in (data, data + b"\r\n\r\n", whole):
        pieces = answer(request, handlers)
        assert pieces is None or pieces[0].startswith(b"HTTP/1.1 ")


def recording(data: bytes) -> None:
    """A file of a recording: members of any form, and lines of any form in a whole member."""
    folder = _proc().path / "recording"
    folder.mkdir(mode=0o700, exist_ok=True)
    for content in (data, gzip.compress(data), pack(data.splitlines(keepends=True))):
        path = folder / "records-00000000-20260101T000000Z.ndjson.gz"
        path.write_bytes(content)
        assert scan(Task(path, "node0", Asked(), 0)).refused is None
        model, stalls, coverage = Model(), Stalls(), Coverage()
        with contextlib.closing(Recording(folder)) as found:
            for interval in found.intervals():
                coverage.add(interval)
                records = list(interval.records())
                stalls.add(records)
                model.add(records, interval.ts_ms * 1_000_000)
                for record in records:
                    assert to_text(record).isascii()
                    assert to_line(record).isascii()
        for stall in stalls.all():
            assert clock_text(stall.begun_ms).isascii()


def payload(data: bytes) -> None:
    """The first bytes of both directions of a socket, from whoever sends them."""
    names = Names()
    sent, _, received = data.partition(b"\n\n")
    for is_received, bytes_of in ((False, sent), (True, received)):
        names.note(Sample(7, is_received, True, len(bytes_of), bytes_of[:512]))
    app = names.app(7)
    socket = Socket(7, 7, "tcp", "10.0.0.1", 40_009, "10.0.0.2", 443, app=app)
    record = StallRecord(NOW_MS, Stall(None, socket, Direction.RECEIVE, 1_000_000, ongoing=True))
    Consumer(now_ms=lambda: NOW_MS).feed(to_line(record))
    assert to_text(record)[:-1].isascii()


def status_answer(data: bytes) -> None:
    """What a probe of another user answers, whom root asks."""
    found = Found(Path("/run/user/1009"), "4241-0123456789abcdef.sock", 1_009)
    probes = [shown(decoded(found, 4_241, data))]
    for output in (to_status_text(probes), to_status_json(probes), verdict(probes)):
        assert output.isascii()
        assert not [byte for byte in output if byte < 0x20 and byte != 0x0A]


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        netlink_messages, sampler, why_samples, kernel_source, ring, tables, kernel_files,
        proc_files, settings_file, command_line, recording, http_request, status_answer,
        payload,
    )
}  # fmt: skip
