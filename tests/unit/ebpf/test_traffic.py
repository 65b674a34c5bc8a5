"""Records that only show who moved how much are added up; nothing else is."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.ebpf.abi import MOST_BYTES, RECORD, Kind, RawEvent, process
from xctl_probe.ebpf.traffic import records_at, split


class Interfaces:
    def name(self, ifindex, netns):
        return f"eth{ifindex}" if netns == 7 else None


EMPTY = RawEvent(*[0] * 23, bytes(16), bytes(16), bytes(16), 0)
RECORDS = st.lists(
    st.builds(
        EMPTY._replace,
        kind=st.sampled_from([0, *Kind, 97]),
        sent_bytes=st.sampled_from([0, 13, 1_009, MOST_BYTES - 1, MOST_BYTES]),
        received_bytes=st.sampled_from([0, 17, MOST_BYTES]),
        occurrences=st.sampled_from([0, 0, 3]),
        pid=st.sampled_from([0, 11, 23]),
        uid=st.sampled_from([0, 97]),
        start_ticks=st.sampled_from([5, 6]),
        comm=st.sampled_from([b"one".ljust(16, b"\0"), b"two".ljust(16, b"\0")]),
        ifindex=st.sampled_from([1, 2]),
        netns=st.sampled_from([7, 8]),
    ),
    max_size=30,
)


def is_plain(record):
    few = max(record.sent_bytes, record.received_bytes) < MOST_BYTES
    return record.kind == Kind.TRAFFIC and not record.occurrences and few


@given(records=RECORDS, tail=st.binary(max_size=RECORD.size - 1))
def test_what_is_added_up_and_what_is_left_make_the_whole(records, tail):
    """Each record is in one of the two; the sums are those of a loop that anybody can check."""
    chunk = b"".join(RECORD.pack(*record) for record in records) + tail
    traffic, waits, others, received = split(chunk, Interfaces(), {23})
    to_one = [r for r in records if is_plain(r) and r.received_bytes and r.pid == 23]
    assert list(records_at(chunk, received)) == to_one
    left = [r for r in records if not is_plain(r)]
    assert list(records_at(chunk, others)) == [r for r in left if r.kind != Kind.ONGOING]
    assert {
        (uid, pid): list(records_at(chunk, numbers))
        for uid, of in waits.items()
        for pid, numbers in of.items()
    } == {
        (uid, pid): [r for r in left if (r.kind, r.uid, r.pid) == (Kind.ONGOING, uid, pid)]
        for uid, pid in {(r.uid, r.pid) for r in left if r.kind == Kind.ONGOING}
    }
    sums = Counter()
    for r in filter(is_plain, records):
        owner = process(r.pid, r.start_ticks, r.comm)
        interface = Interfaces().name(r.ifindex, r.netns)
        sums[owner, interface, "sent"] += r.sent_bytes
        sums[owner, interface, "received"] += r.received_bytes
    found = Counter()
    for event in traffic:
        found[event.owner, event.interface, "sent"] += event.sent_bytes
        found[event.owner, event.interface, "received"] += event.received_bytes
    assert found == sums


def test_many_sockets_of_one_process_are_one_event():
    record = EMPTY._replace(kind=Kind.TRAFFIC, sent_bytes=7, received_bytes=11, pid=23, netns=7)
    (event,), *rest = split(RECORD.pack(*record) * 1_009, Interfaces())
    assert (event.sent_bytes, event.received_bytes, rest) == (7_063, 11_099, [{}, [], []])
