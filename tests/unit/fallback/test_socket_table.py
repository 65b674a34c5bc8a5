"""All connections together: owners, bytes that count once, and samples that are skipped."""

from __future__ import annotations

import pytest
from support.fake_host import OTHER, World, stalls, traffic, with_connection
from support.tcp_model import (
    COOKIE,
    ESTABLISHED,
    INODE,
    LISTEN,
    MS,
    OWNER,
    SOCKET,
    SYN_SENT,
    TIMER_KEEPALIVE,
    TIMER_PROBE,
    Tcp,
)

from xctl_probe.events import (
    Cause,
    Direction,
    DroppedEvents,
    ErrorKind,
    SocketError,
    Stall,
    TrafficDelta,
)
from xctl_probe.fallback import closed_events, socket_table


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_bytes_are_counted_once_and_go_to_the_owner(world):
    """23 messages of 7 bytes out and 13 of 11 in, over three intervals: 161 and 143."""
    tcp = with_connection(world)
    found = []
    for n in range(1, 4):
        for _ in range(9 if n == 3 else 7):
            tcp.send(7)
        for _ in range(5 if n == 3 else 4):
            tcp.receive(11)
        world.take_sample(n * 1_000 - 100)
        found.append(traffic(world.collect(n * 1_000)))
    assert found == [[(OWNER, 49, 44)], [(OWNER, 49, 44)], [(OWNER, 63, 55)]]
    assert world.collect(4_000) == []


def test_what_was_moved_before_the_first_sample_is_not_ours(world):
    """A connection that is there at the start begins at zero, its retransmits too."""
    tcp = Tcp().send(1_009).receive(1_013)
    tcp.retransmits_ever, tcp.duplicates = 17, 5
    with_connection(world, tcp)
    tcp.at(11).send(7)
    assert traffic(world.collect(1_000)) == [(OWNER, 7, 0)]
    tcp.retransmits_ever += 1
    assert SocketError(OWNER, SOCKET, ErrorKind.RETRANSMIT, 1) in world.collect(2_000)


def test_a_connection_made_later_counts_from_its_first_byte(world):
    """All that it moved before it was first seen was moved while the probe ran."""
    world.take_sample(1)
    world.collect(2)
    world.diag.open.append(Tcp().at(500).send(161).receive(143))
    assert traffic(world.collect(1_000)) == [(OWNER, 161, 143)]


def test_the_last_bytes_come_with_the_end(world):
    """What was sent between the last sample and the close is in the announcement, once."""
    tcp = with_connection(world)
    tcp.at(11).send(161)
    world.take_sample(20)
    tcp.at(31).send(13).receive(7)
    tcp.fin_sent = tcp.fin_acked = tcp.fin_received = 1
    world.closes(tcp)
    assert traffic(world.collect(1_000)) == [(OWNER, 174, 7)]
    assert world.collect(2_000) == []


@pytest.mark.parametrize("fin", [0, 1])
def test_without_a_fin_of_the_peer_the_last_byte_counts(world, fin):
    """A reset, or a close before that of the peer: the kernel destroys the socket at once."""
    tcp = with_connection(world)
    tcp.at(11).send(161).receive(143)
    world.take_sample(20)
    tcp.at(31).fin_sent = tcp.fin_acked = fin
    world.closes(tcp)
    assert traffic(world.collect(1_000)) == [(OWNER, 161, 143)]


def test_a_connection_between_two_samples_is_reported_without_owner(world):
    """Never seen open: its bytes count, but they are unattributed."""
    world.take_sample(1)
    world.collect(2)
    tcp = Tcp(opened=False).at(11).send(161).receive(143)
    tcp.fin_received = 1
    world.diag.open.append(tcp)
    world.closes(tcp)
    assert traffic(world.collect(1_000)) == [(None, 161, 143)]


def test_an_end_announced_before_the_second_sample_is_not_ours(world):
    """It may have ended before the probe began, so its bytes are not claimed."""
    tcp = Tcp().send(161)
    world.diag.open.append(tcp)
    world.closes(tcp)
    assert world.collect(2) == []


def test_a_socket_that_its_process_keeps_after_the_end_counts_once(world):
    """A reset: no dump has the socket any more, and its process closes it much later."""
    tcp = with_connection(world)
    tcp.at(11).send(161).receive(143)
    assert traffic(world.collect(1_000)) == [(OWNER, 161, 143)]
    world.diag.open.clear()
    for second in range(2, 12):
        assert world.collect(second * 1_000) == []
    tcp.at(11_500)
    world.diag.open.append(tcp)
    world.closes(tcp)
    assert world.collect(12_000) == []


def test_a_socket_that_was_over_before_the_first_sample_is_not_ours(world):
    tcp = Tcp().at(11).send(161).receive(143)
    for second in range(1, 5):
        world.collect(second * 1_000)
    tcp.at(4_500)
    world.diag.open.append(tcp)
    world.closes(tcp)
    assert world.collect(5_000) == []


def waits_since_31_ms(world):
    """A client whose request of millisecond 31 has no answer, as of a sample just after."""
    tcp = with_connection(world)
    tcp.at(11).send(53)
    world.take_sample(12)
    tcp.at(21).receive(7)
    world.take_sample(22)
    tcp.at(31).send(53)
    world.take_sample(32)
    return tcp


def test_an_end_whose_announcement_was_lost_is_noticed(world):
    """A connection that is in no answer for a whole interval is gone, and its stall with it."""
    waits_since_31_ms(world)
    world.take_sample(200)
    (ongoing,) = stalls(world.collect(1_000))
    assert (ongoing.ongoing, ongoing.duration_ns) == (True, 969 * MS)
    world.diag.open.clear()
    assert stalls(world.collect(2_000)) == []
    (ended,) = stalls(world.collect(3_000))
    assert (ended.ongoing, ended.duration_ns) == (False, 1_969 * MS)
    assert world.collect(4_000) == []


def test_a_socket_that_is_connected_once_more_is_another_connection(world):
    """From the same address to the same one: its counters begin anew."""
    waits_since_31_ms(world)
    world.take_sample(1_000)
    world.collect(1_001)
    world.diag.open[:] = [Tcp().at(1_100).send(19)]
    found = world.collect(2_000)
    assert traffic(found) == [(OWNER, 19, 0)]
    assert [(s.ongoing, s.duration_ns // MS) for s in stalls(found)] == [(False, 970), (True, 900)]


@pytest.mark.parametrize("late", [False, True])
def test_the_end_of_a_stall_is_the_reply_although_the_close_is_read_later(world, late):
    """The ages of the announcement count from the close, which is read up to an interval later."""
    tcp = waits_since_31_ms(world)
    world.take_sample(900)
    tcp.at(1_031).receive(7).at(1_100)
    world.closes(tcp)
    announced, world.diag.ended = world.diag.ended, []
    if late:  # the kernel announces after the sample in which the socket is missing
        world.take_sample(1_101)
    world.diag.ended = announced
    (ended,) = stalls(world.collect(1_900))
    assert (ended.ongoing, ended.duration_ns) == (False, 1_000 * MS)


def test_a_stall_without_a_reply_lasts_until_the_close(world):
    tcp = waits_since_31_ms(world)
    world.take_sample(900)
    tcp.at(1_231)
    world.closes(tcp)
    (ended,) = stalls(world.collect(1_900))
    assert (ended.ongoing, ended.duration_ns) == (False, 1_200 * MS)


def test_a_close_of_unknown_time_is_between_two_samples(world):
    """Sent and received since the last sample: no age is left to count from."""
    tcp = waits_since_31_ms(world)
    world.take_sample(900)
    tcp.at(1_031).receive(7).at(1_040).send(53).at(1_100)
    world.closes(tcp)
    (ended,) = stalls(world.collect(1_900))
    assert not ended.ongoing
    assert 1_000 * MS <= ended.duration_ns <= 1_869 * MS


def test_what_vanished_between_two_samples_waits_for_nothing(world):
    """A connection that ended with a request outstanding, its end not announced yet: no stall."""
    waits_since_31_ms(world)
    world.diag.open.clear()
    assert stalls(world.collect(232)) == []


def test_lost_announcements_are_reported(world):
    """Each overrun of the kernel's buffer counts once."""
    world.take_sample(1)
    world.diag.overruns = 7
    assert world.collect(2) == [DroppedEvents("sock_diag", 7)]
    assert world.collect(3) == []


def test_closings_between_two_intervals_are_let_go_of_before_they_are_too_many(world, monkeypatch):
    """An interval may last an hour: 67 connections with 7 bytes each, of which few are kept."""
    monkeypatch.setattr(socket_table, "_MOST_CLOSED", 23)
    world.take_sample(1)
    world.collect(2)
    for number in range(67):
        tcp = Tcp().at(10 + number)
        tcp.cookie, tcp.inode = 1_000 + number, INODE
        world.diag.open.append(tcp)
        world.take_sample(10 + number)
        tcp.send(7)
        tcp.retransmits_ever = 1
        world.closes(tcp)
        world.take_sample(10 + number)
        assert len(world.connections._closed) < 23
        assert world.rows("dirty").sum() <= 23
        assert len(world.owners.found) <= 1
    events = world.collect(100)
    reported = [f for f in events if isinstance(f, TrafficDelta)]
    assert sum(f.sent_bytes for f in reported) == 67 * 7
    assert {f.owner for f in reported} == {OWNER}
    assert sum(f.count for f in events if isinstance(f, SocketError)) == 67
    assert [f for f in world.collect(200) if isinstance(f, TrafficDelta)] == []


def test_events_of_the_ended_without_room_are_counted(monkeypatch):
    """3 of 5 find room."""
    monkeypatch.setattr(closed_events, "_MOST_EVENTS", 3)
    kept = closed_events.ClosedEvents()
    for _ in range(5):
        kept.add([SocketError(OWNER, SOCKET, ErrorKind.RESET, 1)])
    reported = [SocketError(OWNER, SOCKET, ErrorKind.RESET, 1)] * 3 + [
        DroppedEvents("closed_queue_full", 2)
    ]
    assert list(kept.take()) == reported
    assert list(kept.take()) == []


def test_retransmits_are_counted_as_they_grow(world):
    """Three, then two more: five in all, in two intervals; the receiver had two of them."""
    tcp = with_connection(world)
    tcp.at(11).send(7)
    tcp.retransmits_ever, tcp.retransmitted_bytes, tcp.duplicates = 3, 21, 1
    (error, _) = world.collect(1_000)
    assert error == SocketError(OWNER, SOCKET, ErrorKind.RETRANSMIT, 3, duplicates=1)
    for now_ms in range(2_000, 9_000, 1_000):  # it becomes idle
        assert world.collect(now_ms) == []
    tcp.at(9_001).send(7)
    tcp.retransmits_ever, tcp.duplicates = 5, 2
    (error,) = (f for f in world.collect(10_000) if isinstance(f, SocketError))
    assert error == SocketError(OWNER, SOCKET, ErrorKind.RETRANSMIT, 2, duplicates=1)


def test_an_error_names_no_socket_zero(world):
    """A server's handshake that needed a retransmit and was not accepted yet has no inode."""
    world.take_sample(1)
    world.collect(2)
    tcp = Tcp(opened=False).at(11)
    tcp.inode, tcp.retransmits_ever = 0, 1
    world.diag.open.append(tcp)
    events = world.collect(1_000)
    assert not [f for f in events if isinstance(f, SocketError) and not f.socket.inode]


def test_a_stall_is_reported_while_it_lasts_and_when_it_is_over(world):
    """Each interval with the time so far, then once with the whole; owner and socket in it."""
    tcp = with_connection(world)
    for at_ms in (11, 31):
        tcp.at(at_ms).send(53)
        world.take_sample(at_ms + 3)
        if at_ms == 11:
            tcp.at(21).receive(13)
            world.take_sample(23)
    world.take_sample(131)
    stall = Stall(OWNER, SOCKET, Direction.RECEIVE, 969 * MS, True, Cause.NO_REPLY, None)
    assert stalls(world.collect(1_000)) == [stall]
    (again,) = stalls(world.collect(2_000))
    assert (again.ongoing, again.duration_ns) == (True, 1_969 * MS)
    tcp.at(2_312).receive(13)
    world.take_sample(2_330)
    (ended,) = stalls(world.collect(3_000))
    assert (ended.ongoing, ended.duration_ns) == (False, 2_281 * MS)
    assert world.collect(4_000) == []


def test_a_stall_between_two_intervals_is_reported_by_its_end_alone(world):
    """It began and ended within one interval: one event, with its exact length."""
    tcp = with_connection(world)
    tcp.at(11).send(53)
    world.take_sample(12)
    tcp.at(21).receive(13)
    world.take_sample(22)
    tcp.at(31).send(53)
    world.take_sample(32)
    world.take_sample(150)
    tcp.at(444).receive(13)
    world.take_sample(450)
    (stall,) = stalls(world.collect(1_000))
    assert (stall.ongoing, stall.duration_ns) == (False, 413 * MS)


def test_a_listener_and_idle_connections_are_never_stalled(world):
    """However long: a listener with its queue, and a server's connection that waits for work."""
    listener, idle = Tcp(opened=False, state=LISTEN), Tcp(opened=False)
    listener.cookie, listener.inode, listener.rqueue = 11, 4_243, 3
    world.diag.open.append(listener)
    with_connection(world, idle)
    idle.at(11).receive(7)
    world.take_sample(12)
    idle.at(13).send(11)
    for now_ms in (20, 200, 1_000, 60_000):
        world.take_sample(now_ms)
    assert stalls(world.collect(60_001)) == []


def test_a_server_that_has_answered_costs_nothing_until_somebody_waits(world, monkeypatch):
    """Thousands of keep-alive connections: none is decoded while it is idle, or only asked."""
    decoded = []
    decode = socket_table.decode
    monkeypatch.setattr(socket_table, "decode", lambda m: decoded.append(m) or decode(m))
    idle = Tcp(opened=False)
    with_connection(world, idle)
    idle.at(11).receive(7)
    world.take_sample(12)
    idle.at(13).send(11)
    world.take_sample(20)
    decoded.clear()
    world.take_sample(200)
    world.take_sample(1_000)
    assert decoded == []
    idle.at(1_001).receive(13)
    world.take_sample(1_002)
    assert decoded == []
    idle.at(1_003).fill(80_021)
    world.take_sample(1_004)
    world.take_sample(1_101)
    assert decoded == []
    world.take_sample(1_102)
    assert len(decoded) == 1


def test_a_failed_connect_finishes_its_stall(world):
    """A handshake that is given up has waited until the socket was destroyed."""
    world.take_sample(1)
    world.collect(2)
    tcp = Tcp(state=SYN_SENT).at(11)
    world.diag.open.append(tcp)
    world.take_sample(11)
    world.take_sample(300)
    world.closes(tcp)
    world.take_sample(464)
    (stall,) = stalls(world.collect(1_000))
    assert (stall.direction, stall.ongoing) == (Direction.CONNECT, False)
    assert stall.duration_ns == 289 * MS
    assert stall.owner == OWNER


def test_a_connection_that_was_seen_connecting_is_opened_by_us(world):
    """The kernel's counts are not needed: the state decides."""
    tcp = Tcp(opened=False, state=SYN_SENT)
    world.diag.open.append(tcp)
    world.take_sample(1)
    tcp.state = ESTABLISHED
    world.take_sample(12)
    assert world.rows("opened").tolist() == [True]


def test_interleaved_connections_are_reported_apart(world):
    """Two sockets with the same addresses differ by their cookie."""
    one, two = Tcp(), Tcp()
    two.cookie, two.inode = COOKIE + 1, INODE + 1
    world.owners.now[INODE + 1] = OTHER
    world.diag.open += [one, two]
    world.take_sample(1)
    world.collect(2)
    one.at(11).send(7)
    two.at(11).send(13)
    found = traffic(world.collect(1_000))
    assert sorted(found, key=lambda t: t[1]) == [(OWNER, 7, 0), (OTHER, 13, 0)]


def quiet_for(world, now_ms):
    """A connection with one exchange that has been sampled, and found quiet, until now."""
    tcp = with_connection(world)
    tcp.at(11).send(7)
    world.take_sample(12)
    tcp.at(21).receive(13)
    for sample_ms in range(100, now_ms + 1, 100):
        world.take_sample(sample_ms)
    world.collect(now_ms)
    return tcp


@pytest.mark.parametrize("old", [True, False])
def test_a_hole_at_the_first_sample_of_a_connection_is_one_where_it_is_new(world, old):
    """What came out of order before the probe may long be in its place."""
    tcp = Tcp()
    if not old:
        world.take_sample(1)
        world.collect(2)
    tcp.at(1_003).send(53).receive(7).at(1_007)
    tcp.rmem, tcp.out_of_order, tcp.segments_in = 2_304, 1, 2
    world.diag.open.append(tcp)
    for now_ms in (1_010, 1_100, 1_300):
        world.take_sample(now_ms)
    causes = [stall.cause for stall in stalls(world.collect(1_400))]
    assert causes == ([] if old else [Cause.LOSS])


def test_a_hole_after_a_quiet_time_began_after_it(world):
    """Out-of-order data on a connection that was idle: the stall does not span the idling."""
    tcp = quiet_for(world, 60_000)
    tcp.at(60_011).segments_in += 1
    tcp.rmem, tcp.out_of_order = 2_304, 1
    world.take_sample(60_020)
    world.take_sample(60_200)
    found = stalls(world.collect(60_300))
    assert found
    assert all(stall.duration_ns <= 300 * MS for stall in found)


def test_a_buffer_filled_after_a_quiet_time_filled_after_it(world):
    """A write against a closed window after an idle time: stalled since then, not since before."""
    tcp = quiet_for(world, 60_000)
    tcp.at(60_011).fill(80_021)
    tcp.timer, tcp.snd_wnd = TIMER_PROBE, 0
    world.take_sample(60_020)
    world.take_sample(60_200)
    (stall,) = stalls(world.collect(60_300))
    assert (stall.direction, stall.cause) == (Direction.SEND, Cause.PEER_WINDOW)
    assert stall.duration_ns <= 300 * MS


# Keepalives


def test_keepalives_without_an_answer_wake_who_opened_the_connection(world):
    """Nothing else of the socket changes; who accepted it waits for work."""
    tcp = quiet_for(world, 60_000)
    accepted = Tcp(opened=False)
    accepted.cookie, accepted.inode = COOKIE + 1, INODE + 1
    world.diag.open.append(accepted)
    world.take_sample(60_010)
    world.collect(60_020)
    assert world.rows("active").tolist() == [False, False]
    for count in (1, 2):
        for one in (tcp, accepted):
            one.timer, one.timer_retries = TIMER_KEEPALIVE, count
        world.collect(60_000 + count * 1_000)
        assert world.rows("active").tolist() == [True, False]
    tcp.timer_retries = accepted.timer_retries = 0
    world.collect(63_000)
    assert world.rows("active").tolist() == [False, False]


# The way that packets take


def moved_by(events):
    return {
        f.interface: f.sent_bytes for f in events if isinstance(f, TrafficDelta) and f.sent_bytes
    }


@pytest.mark.parametrize("is_idle", [True, False], ids=["resting", "unpacked"])
def test_a_new_route_is_followed_by_connections_that_stand(world, is_idle):
    """Once an interval the host is asked whether its routes have changed."""
    tcp = with_connection(world)
    tcp.at(1_100).send(1_009)
    assert moved_by(world.collect(2_000)) == {"eth0": 1_009}
    if not is_idle:
        tcp.at(2_100).send(7, acked=False)
        world.take_sample(2_110)
    world.interfaces.name, world.interfaces.changed = "wg0", True
    world.collect(3_000)
    tcp.at(3_100).send(2_003)
    world.collect(4_000)
    tcp.at(4_100).send(3_001)
    assert moved_by(world.collect(5_000)) == {"wg0": 3_001}
