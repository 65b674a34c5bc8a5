"""/proc/net/tcp on every kind of line, and the few stalls that it can prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_host import Interfaces

from xctl_probe.events import Cause, Direction, Process, Socket, Stall
from xctl_probe.fallback.proc_net import ProcNet, Row, parse
from xctl_probe.linux.socket_waits import NotRead, SocketWaits, What

MS = 1_000_000
HEAD = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"
    b"   uid  timeout inode\n"
)
LINE = (
    b"   7: 0700000A:9C49 0B00000A:153D 01 00000065:0000000B 01:00000014 00000003"
    b"  1009        0 4241 2 0000000000000000 20 4 30 10 -1\n"
)
LINE6 = (
    b"   0: 00000000000000000000000001000000:9C49 000080FE00000000000000000B000000:153D 0A"
    b" 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000000000000000 100 0 0 10 0\n"
)
ROW = Row("10.0.0.7", 40_009, "10.0.0.11", 5_437, 1, 101, 11, 1, 3, 1_009, 4_241)
SOCKET = Socket(4_241, 0, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437, "eth0", 1_009)
OWNER = Process(233, 7_001, "client")
TID = 239


def test_every_field_is_read_where_it_stands():
    """Addresses and ports in host order, queues in bytes, timer, retries, uid and inode."""
    assert list(parse(HEAD + LINE)) == [ROW]


def test_ipv6_addresses_are_four_words():
    """Each word is in host order by itself."""
    (row,) = parse(HEAD + LINE6)
    assert (row.local_address, row.remote_address) == ("::1", "fe80::b")
    assert (row.state, row.inode) == (10, 4_243)


def test_a_mapped_address_is_ipv4():
    """A dual-stack socket is reported by the address that people know."""
    mapped = b"0000000000000000FFFF00000700000A"
    line = LINE6.replace(b"00000000000000000000000001000000", mapped)
    (row,) = parse(HEAD + line)
    assert row.local_address == "10.0.0.7"


@pytest.mark.parametrize("blanks", [b"", b"\n", b" " * 149 + b"\n", b"   8: 0700000A:9C49\n"])
def test_lines_that_are_none_are_passed_over(blanks):
    """The kernel pads, and a table may end in the middle of a line."""
    assert list(parse(HEAD + blanks + LINE + blanks)) == [ROW]
    assert list(parse(HEAD + blanks)) == []


@given(st.integers(0, len(HEAD + LINE + LINE)))
def test_a_table_cut_anywhere_parses(cut):
    """What is whole comes out, what is cut does so only if it still has all its fields."""
    rows = list(parse((HEAD + LINE + LINE)[:cut]))
    assert len(rows) <= 2
    assert all(row._replace(inode=4_241) == ROW for row in rows)


FIELD = st.one_of(
    st.binary(max_size=9),
    st.sampled_from([b"-1", b"0x1F", b"1_0", b":", b"::", b"F" * 10, b"9" * 5_000, b"\xb2"]),
    st.sampled_from(LINE.split()),
)


@given(st.lists(st.lists(FIELD, max_size=14).map(b" ".join), max_size=5))
def test_hostile_lines_never_raise(lines):
    """Every line gives a row or nothing."""
    for row in parse(HEAD + b"\n".join(lines)):
        assert isinstance(row, Row)


@given(st.integers(0, 13), FIELD)
def test_one_hostile_field_never_raises(position, field):
    """A line that is right but for one field gives a row or nothing, and the next is unharmed."""
    fields = LINE.split()
    fields[position] = field
    rows = list(parse(HEAD + b" ".join(fields) + b"\n" + LINE))
    assert rows[-1] == ROW
    assert len(rows) <= 3


@given(st.binary(max_size=700))
def test_any_bytes_never_raise(table):
    """Nor does a table that is none."""
    assert len(list(parse(table))) <= len(table)


class Owners:
    """Process 233 holds the socket, as its descriptor 5; or, `hidden`, one that cannot be seen."""

    def __init__(self):
        self.hidden = self.pending = False
        self.searches = 0
        self.forgotten = set()

    def begin(self):
        pass

    def is_current(self, _inode):
        return not self.hidden

    def get(self, _inode):
        return None if self.hidden else OWNER

    def finished(self):
        return []

    def is_pending(self, _inode):
        return self.pending

    def search_for(self, askers):
        assert set(askers.values()) <= {1_009}
        self.searches += bool(askers)

    def forget(self, inodes):
        self.forgotten |= set(inodes)


class Processes:
    """The threads of process 233, by tid, inode and direction; None while it cannot be read."""

    def __init__(self):
        self.threads = ()

    def begin(self):
        pass

    def waits(self, pid, what):
        assert (pid, what) == (OWNER.pid, What.THREADS)
        if self.threads is None:
            raise NotRead
        return SocketWaits(threads=tuple(self.threads))


class Table:
    """A ProcNet over a /proc of one's own, and the threads that it is shown."""

    def __init__(self, proc):
        self.proc = proc
        (proc / "net").mkdir()
        self.owners, self.processes = Owners(), Processes()
        self.net = ProcNet(self.owners, Interfaces(), 100 * MS, self.processes, proc)

    @property
    def threads(self):
        return self.processes.threads

    @threads.setter
    def threads(self, threads):
        self.processes.threads = threads

    def take_sample(self, now_ms, **changes):
        self.write(**changes)
        self.net.sample(now_ms * MS)

    def collect(self, now_ms):
        return list(self.net.collect(now_ms * MS, 1_000 * MS))

    def write(self, *, state=1, tx=101, rx=0, timer=4, retries=0, lines=1, port=40_009):
        line = (
            f"   7: 0700000A:{port:04X} 0B00000A:153D {state:02X} {tx:08X}:{rx:08X}"
            f" {timer:02X}:00000014 {retries:08X}  1009        0 4241 2"
            " 0000000000000000 20 4 30 10 -1\n"
        )
        (self.proc / "net/tcp").write_bytes(HEAD + line.encode() * lines)


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)


SENDER = (TID, 4_241, Direction.SEND)


def stall(direction, ms, ongoing, cause, tid):
    return Stall(OWNER, SOCKET, direction, ms * MS, ongoing, cause, tid)


def test_a_blocked_sender_on_a_closed_window_is_a_stall(table):
    """The probe timer runs, data waits, and a thread is in the send: until the queue moves."""
    table.threads = [SENDER]
    table.take_sample(7)
    table.take_sample(106)
    assert table.collect(106) == []
    table.take_sample(107)
    assert table.collect(150) == [stall(Direction.SEND, 143, True, Cause.PEER_WINDOW, TID)]
    table.take_sample(1_016, tx=83)
    assert table.collect(1_020) == [stall(Direction.SEND, 1_009, False, Cause.PEER_WINDOW, TID)]
    assert table.collect(1_030) == []


def test_what_a_probe_squeezes_out_does_not_cut_a_stall_in_two(table):
    """A few bytes into a nearly closed window; all of it counts from the beginning, though."""
    table.threads = [SENDER]
    table.take_sample(7, tx=803)
    table.take_sample(206, tx=751)
    table.take_sample(400, tx=709)
    assert table.collect(400) == [stall(Direction.SEND, 393, True, Cause.PEER_WINDOW, TID)]
    table.take_sample(607, tx=701)
    assert table.collect(608) == [stall(Direction.SEND, 600, False, Cause.PEER_WINDOW, TID)]


def test_a_queue_that_moves_a_little_while_the_window_is_open_has_moved(table):
    """Data flows; the thread in the send waits for its pace, not for the window."""
    table.threads = [SENDER]
    table.take_sample(7, tx=803, timer=1, retries=1)
    table.take_sample(106, tx=797, timer=1, retries=1)
    table.take_sample(205, tx=809, timer=1, retries=1)
    assert table.collect(205) == []


def test_a_socket_that_is_gone_finishes_its_stall(table):
    """The line is not there any more."""
    table.threads = [SENDER]
    table.take_sample(7)
    table.take_sample(200)
    table.take_sample(464, lines=0)
    assert table.collect(465) == [stall(Direction.SEND, 457, False, Cause.PEER_WINDOW, TID)]


def test_a_socket_that_is_connected_once_more_waits_anew(table):
    """A connect that failed is tried again at once, from another port."""
    table.take_sample(7, state=2, tx=1, timer=1)
    table.take_sample(200, state=2, tx=1, timer=1)
    table.take_sample(311, state=2, tx=1, timer=1, port=40_013)
    assert table.collect(312) == [stall(Direction.CONNECT, 304, False, Cause.CONNECTING, None)]
    table.take_sample(411, state=2, tx=1, timer=1, port=40_013)
    (second,) = table.collect(412)
    assert (second.socket.local_port, second.duration_ns) == (40_013, 101 * MS)


def test_the_owner_of_a_socket_that_is_gone_is_forgotten(table):
    """Else a long life would remember every socket that ever stalled."""
    table.take_sample(7)
    table.take_sample(200, lines=0)
    assert table.owners.forgotten == {4_241}


def test_an_owner_that_cannot_be_seen_is_not_sought_at_every_sample(table):
    """A search reads all descriptors: after 1, 2, 4 ... 64 samples of a hundred."""
    table.owners.hidden = True
    table.take_sample(7, state=2, tx=1, timer=1)
    for now_ms in range(200, 300):
        table.take_sample(now_ms, state=2, tx=1, timer=1)
    assert table.owners.searches == 7


def test_a_handshake_needs_no_thread(table):
    """SYN_SENT that lasts is a stall by itself."""
    table.take_sample(7, state=2, tx=1, timer=1)
    table.take_sample(200)
    table.take_sample(201, state=2, tx=1, timer=1)
    table.write(state=2, tx=1, timer=1)
    assert table.collect(210) == []  # it had been established in between: waiting since 201
    assert table.collect(301) == [stall(Direction.CONNECT, 100, True, Cause.CONNECTING, None)]


def test_a_receiver_behind_lost_data_is_reported_as_one(table):
    """What we sent is being sent again, and a thread waits for the answer."""
    table.threads = [(TID, 4_241, Direction.RECEIVE)]
    for now_ms in (7, 200):
        table.take_sample(now_ms, timer=1, retries=3)
    table.write(timer=1, retries=3)
    assert table.collect(208) == [stall(Direction.RECEIVE, 201, True, Cause.LOSS, TID)]


@pytest.mark.parametrize(
    "line",
    [
        {"state": 10, "timer": 0},  # a listener
        {"tx": 0},  # nothing waits to be sent: idle, or a reply outstanding, unknown
        {"timer": 0},
        {"timer": 1, "retries": 0},
        {"timer": 2},  # keepalive
        {"state": 6},  # TIME_WAIT
    ],
    ids=str,
)
def test_what_does_not_move_for_another_reason_is_no_stall(table, line):
    """Without a sign of trouble in the line, a blocked thread proves nothing."""
    table.threads = [SENDER, (TID, 4_241, Direction.RECEIVE)]
    for now_ms in (7, 200, 9_001):
        table.take_sample(now_ms, **line)
    table.write(**line)
    assert table.collect(9_002) == []


@pytest.mark.parametrize(
    "threads",
    [[], [(TID, 4_243, Direction.SEND)], [(TID, 4_241, None)]],
    ids=["none", "another socket", "unknown direction"],
)  # fmt: skip
def test_without_a_thread_on_this_socket_there_is_no_stall(table, threads):
    """A closed window is the process's trouble only if it waits there."""
    table.threads = threads
    for now_ms in (7, 200, 9_001):
        table.take_sample(now_ms)
    assert table.collect(9_002) == []


def test_a_thread_that_leaves_finishes_the_stall(table):
    """The queue is as it was, but no process waits any more."""
    table.threads = [SENDER]
    table.take_sample(7)
    table.take_sample(200)
    table.threads = []
    assert table.collect(464) == [stall(Direction.SEND, 457, False, Cause.PEER_WINDOW, TID)]


def test_while_its_process_cannot_be_read_a_stall_goes_on_and_none_begins(table):
    """It is tried again with the next sample."""
    table.threads = None
    table.take_sample(7)
    table.write()
    assert table.collect(200) == []
    table.threads = [SENDER]
    table.take_sample(230)
    table.threads = None
    table.write()
    assert table.collect(464) == [stall(Direction.SEND, 457, True, Cause.PEER_WINDOW, TID)]


def test_a_stall_waits_for_its_owner_while_that_is_searched_for(table):
    table.threads = [SENDER]
    table.owners.hidden = table.owners.pending = True
    table.take_sample(7)
    table.write()
    assert table.collect(200) == []
    table.owners.hidden = table.owners.pending = False
    assert table.collect(464) == [stall(Direction.SEND, 457, True, Cause.PEER_WINDOW, TID)]


def test_no_table_is_an_error_and_no_ipv6_is_none(table):
    """Without /proc/net/tcp the source cannot work; without tcp6 it can."""
    with pytest.raises(FileNotFoundError):
        table.net.sample(7)
    table.take_sample(7)
    (table.proc / "net/tcp6").write_bytes(HEAD + LINE6)
    table.take_sample(11)
