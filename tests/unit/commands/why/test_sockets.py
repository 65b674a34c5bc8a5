"""Two samples of sockets become the answer about them: against a TCP on paper."""

from __future__ import annotations

import socket
import struct

import pytest
from support.tcp_model import (
    INODE,
    LOCAL,
    MS,
    REMOTE,
    SYN_SENT,
    TIMER_KEEPALIVE,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    Tcp,
)

from xctl_probe.commands.why.diag_sampler import DiagSampler, _unanswered_ms
from xctl_probe.commands.why.humanize import format_bytes, format_duration, pluralize
from xctl_probe.commands.why.proc_sampler import ProcSampler, socket_fds, udp_sockets
from xctl_probe.events import Cause
from xctl_probe.fallback.sock_diag import decode

FD, PID = 7, 233


def sampled(tcp, change=lambda: None, between_ms=300, others=()):
    """The answer after a sample, a change and another sample."""
    samples = DiagSampler()
    samples.sample([tcp.message()], {INODE}, tcp.now_ns)
    change()
    tcp.at(tcp.now_ms + between_ms)
    messages = [tcp.message(), *others]
    samples.sample(messages, {INODE}, tcp.now_ns)
    (found,) = samples.tcp({INODE: FD}, messages, between_ms * MS)
    return found


def test_a_request_without_reply_has_its_age():
    """From the last send, though no sample was taken then."""
    tcp = Tcp().at(101).send(23)
    found = sampled(tcp.at(1_101))
    assert (found.fd, found.state, found.opened) == (FD, "ESTABLISHED", True)
    assert found.reply_ms == found.last_send_ms == 1_300
    assert found.last_receive_ms is None
    assert not found.moved


def test_an_answered_request_is_over():
    """No reply is outstanding."""
    tcp = Tcp().at(101).send(23).at(211).receive(29)
    found = sampled(tcp.at(1_101))
    assert found.reply_ms is None
    assert (found.last_send_ms, found.last_receive_ms) == (1_300, 1_190)


def test_what_moves_between_the_samples_is_seen():
    """Then it is no standstill."""
    tcp = Tcp().at(101).send(23)
    assert sampled(tcp.at(1_101), lambda: tcp.receive(29)).moved


def test_an_accepted_connection_owes_nothing():
    """Whoever did not open it waits for work."""
    tcp = Tcp(opened=False).at(101).send(23)
    found = sampled(tcp.at(1_101))
    assert found.opened is False
    assert found.reply_ms is None


def test_a_full_buffer_and_a_closed_window():
    """Since the last segment that went out."""
    tcp = Tcp().at(101).send(23).fill(90_000)
    tcp.timer, tcp.probes, tcp.snd_wnd = TIMER_PROBE, 1, 0
    found = sampled(tcp.at(1_101))
    assert found.window_closed
    assert found.full_ms == 1_300
    assert found.not_sent_bytes == 90_000


def test_a_probe_timer_alone_is_no_closed_window():
    """The kernel runs it for whatever keeps data back: pacing, a firewall of this host."""
    tcp = Tcp().at(101).send(23).fill(90_000)
    tcp.timer = TIMER_PROBE
    found = sampled(tcp.at(1_101))
    assert (found.probing, found.send_cause) == (True, None)
    tcp.probes = 1
    assert sampled(tcp).send_cause is Cause.LOCAL_DROP
    tcp.max_pacing_rate = tcp.pacing_rate = 200_000
    assert sampled(tcp).send_cause is Cause.PACING
    assert not sampled(tcp).window_closed


def test_keepalives_without_an_answer_are_counted():
    """By the timer of idle connections; the peer's host was last heard when it acknowledged."""
    tcp = Tcp().at(101).send(23).at(211).receive(29)
    tcp.timer, tcp.timer_retries = TIMER_KEEPALIVE, 3
    found = sampled(tcp.at(4_211))
    assert (found.unanswered_keepalives, found.heard_ms) == (3, 4_300)
    tcp.timer = TIMER_RETRANSMIT
    assert sampled(tcp).unanswered_keepalives == 0


def test_the_share_of_a_closed_window_is_of_the_time_sampled():
    """rwnd_limited grows by what the window took of it."""
    tcp = Tcp().at(101).send(23)

    def limit():
        tcp.rwnd_limited_us += 150_000

    assert sampled(tcp.at(1_101), limit).window_share == 0.5


@pytest.mark.parametrize(
    ("retries", "backoff", "rto_ms", "expires_ms", "expected_ms"),
    [
        (0, 0, 1_000, 908, 92),
        (1, 1, 2_000, 1_500, 1_500),  # 1 s before, and half of the next two
        (3, 3, 8_000, 8_000, 7_000),  # 1 + 2 + 4
        (3, 0, 1_000, 444, 3_556),  # linear timeouts of a SYN: 1 + 1 + 1
        (6, 2, 4_000, 1_160, 9_840),  # five linear ones, then 2 s, as it was seen on 6.18
    ],
)
def test_the_timer_shows_since_when_nothing_was_answered(
    retries, backoff, rto_ms, expires_ms, expected_ms
):
    """Each expiry doubles the timeout, except the first of a SYN."""
    tcp = Tcp(state=SYN_SENT)
    sample = tcp.sample()
    info = sample.info._replace(backoff=backoff, rto_us=rto_ms * 1_000)
    sample = sample._replace(
        timer=TIMER_RETRANSMIT, timer_retries=retries, timer_expires_ms=expires_ms, info=info
    )
    assert _unanswered_ms(sample) == expected_ms


def test_the_other_end_on_this_host_is_found():
    """By addresses and ports the other way round, with what it has not read."""
    here, there, elsewhere = Tcp().at(101).send(23), Tcp(opened=False), Tcp(opened=False)
    there.local, there.remote, there.rqueue, there.inode = REMOTE, LOCAL, 1_009, 0
    elsewhere.local, elsewhere.remote, elsewhere.inode = ("10.0.0.99", REMOTE[1]), LOCAL, 0
    found = sampled(here, others=[elsewhere.message(), there.message()])
    assert found.peer.unread_bytes == 1_009
    assert found.peer.pid is None
    assert sampled(here, others=[elsewhere.message()]).peer is None


def test_a_message_cut_short_is_passed_over():
    """Nothing is invented from it."""
    samples = DiagSampler()
    samples.sample([Tcp().message()[:72], b"", b"x" * 71], {INODE}, 0)
    assert decode(b"") is None


@pytest.fixture
def proc(tmp_path):
    """A /proc with one process, of two sockets and a pipe."""
    folder = tmp_path / str(PID)
    (folder / "fd").mkdir(parents=True)
    (folder / "net").mkdir()
    for fd, target in ((3, "pipe:[11]"), (7, "socket:[4241]"), (11, "socket:[4243]")):
        (folder / "fd" / str(fd)).symlink_to(target)
    (folder / "fd" / "13").symlink_to("socket:[4241]")
    return tmp_path


def row(inode, remote, *, state=1, tx=0, rx=0, timer=0, retries=0, tail="0"):
    """A line of /proc/net/tcp, or with drops at its end of /proc/net/udp."""
    address, port = remote
    words = f"{int.from_bytes(socket.inet_aton(address), 'little'):08X}:{port:04X}"
    return (
        f"   0: 0100007F:9C49 {words} {state:02X} {tx:08X}:{rx:08X} {timer:02X}:00000000 "
        f"{retries:08X}  1009        0 {inode} 2 0000000000000000 {tail}\n"
    )


HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def test_sockets_are_reported_from_other_descriptors(proc):
    """The lowest descriptor of a socket that was duplicated."""
    assert socket_fds(PID, proc) == {4_241: 7, 4_243: 11}


def test_proc_net_shows_queues_and_timers(proc):
    """And nothing of the times."""
    table = proc / str(PID) / "net" / "tcp"
    rows = [
        row(4_241, ("127.0.0.1", 5_432), tx=23, timer=TIMER_RETRANSMIT, retries=3),
        row(4_243, ("127.0.0.1", 5_437), tx=99, timer=TIMER_PROBE),
        row(9_999, ("127.0.0.1", 1)),
    ]
    table.write_text(HEADER + "".join(rows))
    samples = ProcSampler(PID, proc)
    samples.sample({4_241, 4_243})
    table.write_text(HEADER + "".join(rows[:1]))
    samples.sample({4_241, 4_243})
    (found,) = samples.tcp({4_241: 7})
    assert (found.remote, found.send_queue, found.retransmits) == ("127.0.0.1:5432", 23, 3)
    assert found.last_send_ms is found.opened is found.not_sent_bytes is None
    assert not found.moved


def test_udp_sockets_come_with_their_drops(proc):
    """The last column."""
    text = HEADER + row(4_243, ("10.0.0.2", 53), rx=832, tail="17")
    text += row(4_241, ("0.0.0.0", 0), state=7) + "rubbish\n"
    (proc / str(PID) / "net" / "udp").write_text(text)
    connected, free = udp_sockets(PID, {4_241: 7, 4_243: 11}, proc)
    assert (connected.fd, connected.remote, connected.receive_queue) == (11, "10.0.0.2:53", 832)
    assert connected.drops == 17
    assert (free.fd, free.remote, free.drops) == (7, None, 0)


def test_a_port_of_a_udp_socket_is_the_kernels_choice_or_a_services(proc):
    text = HEADER + "".join(
        row(inode, ("0.0.0.0", 0), state=7).replace(":9C49", f":{port:04X}")
        for inode, port in ((4_241, 32_767), (4_243, 32_768))
    )
    (proc / str(PID) / "net" / "udp").write_text(text)
    service, client = udp_sockets(PID, {4_241: 7, 4_243: 11}, proc)
    assert (service.chosen_port, client.chosen_port) == (False, True)


def test_quantities_are_short_and_rounded():
    """Short, and never wrong by rounding to nothing."""
    times = [99, 1_234, 119_000, 250_000, 11_100_000, 183_600_000]
    assert [format_duration(ms) for ms in times] == [
        "0.10 s", "1.2 s", "119.0 s", "4 min 10 s", "3 h 5 min", "2 d 3 h",
    ]  # fmt: skip
    sizes = [0, 1, 9_999, 65_536, 3_355_443, 5 << 30]
    assert [format_bytes(count) for count in sizes] == [
        "0 bytes", "1 byte", "9999 bytes", "64.0 KiB", "3.2 MiB", "5.0 GiB",
    ]  # fmt: skip
    assert [pluralize(n, "SYN") for n in (1, 2)] == ["1 SYN", "2 SYNs"]


def test_the_layout_that_is_peeked_into_is_the_kernels():
    """Ports and inode are compared before anything is decoded."""
    message = Tcp().message()
    assert message[4:8] == struct.pack(">HH", LOCAL[1], REMOTE[1])
    assert message[68:72] == INODE.to_bytes(4, "little")


@pytest.mark.parametrize(("stall_ms", "reply_ms"), [(100, 500), (201, 300)])
def test_a_request_may_have_pieces_less_than_a_stall_apart(stall_ms, reply_ms):
    """A send after a longer pause is another request, and the wait for the first goes on."""
    tcp = Tcp().at(101).send(23)
    samples = DiagSampler(stall_ms)
    samples.sample([tcp.message()], {INODE}, tcp.now_ns)
    tcp.at(301).send(29).at(601)
    samples.sample([tcp.message()], {INODE}, tcp.now_ns)
    (found,) = samples.tcp({INODE: FD}, [tcp.message()], 500 * MS)
    assert found.reply_ms == reply_ms
