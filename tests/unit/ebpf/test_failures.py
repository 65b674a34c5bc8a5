"""Failures that flood the probe: who has few of them keeps events of his own; sums are exact."""

from __future__ import annotations

from xctl_probe.ebpf.abi import Kind, RawEvent
from xctl_probe.ebpf.failures import Failures
from xctl_probe.events import ErrorKind

EMPTY = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)
USER, OTHER_USER = 65_534, 65_533
KINDS = {Kind.RESET: ErrorKind.RESET, Kind.RETRANSMIT: ErrorKind.RETRANSMIT}


def failure(pid, port, uid=USER, kind=Kind.RESET):
    return EMPTY._replace(
        kind=kind, pid=pid, uid=uid, remote_port=port, remote_address=b"p" * 16, occurrences=1
    )


def flood(failures, pids, ports, uid=USER):
    """Failures of so many processes and peers; how many had an event."""
    return sum(
        failures.has_room(failure(pid, port, uid), Kind.RESET, 1)
        for port in range(ports)
        for pid in range(1, pids + 1)
    )


def test_one_process_has_64_events_and_the_rest_is_added_up():
    failures = Failures()
    assert flood(failures, pids=1, ports=100) == 64
    assert sum(e.count for e in failures.sums(KINDS, lambda *_: None)) == 36


def test_a_process_of_a_user_whose_others_flood_has_its_first_events():
    """Four; its socket is not lost among theirs."""
    failures = Failures()
    assert flood(failures, pids=8, ports=300) == 256
    one = failure(4_711, 7, kind=Kind.RETRANSMIT)
    assert [failures.has_room(one, Kind.RETRANSMIT, 1) for _ in range(5)] == [True] * 4 + [False]
    total = sum(e.count for e in failures.sums(KINDS, lambda *_: None))
    assert total == 8 * 300 - 256 + 1


def test_many_processes_of_a_user_have_1024_events():
    failures = Failures()
    assert flood(failures, pids=2_000, ports=1) == 1_024
    assert flood(failures, pids=1, ports=3, uid=OTHER_USER) == 3


def test_the_duplicates_of_what_is_added_up_are_added_up():
    failures = Failures()
    flood(failures, pids=1, ports=64)
    twice = failure(1, 7, kind=Kind.RETRANSMIT)._replace(occurrences=5, duplicates=2)
    for _ in range(3):
        assert not failures.has_room(twice, Kind.RETRANSMIT, 5)
    (total,) = failures.sums(KINDS, lambda *_: None)
    assert (total.kind, total.count, total.duplicates) == (ErrorKind.RETRANSMIT, 15, 6)
