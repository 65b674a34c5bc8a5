"""Whether connections were made or segments moved, from the counters of a namespace."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xctl_probe.linux.tcp_activity import TcpActivity, counters

NAMES = b"Tcp: RtoAlgorithm ActiveOpens PassiveOpens AttemptFails InSegs OutSegs InErrs\n"


def table(active=7, passive=11, inside=101, outside=103):
    return (
        b"Ip: Forwarding InReceives\nIp: 2 64\n"
        + NAMES
        + b"Tcp: 1 %d %d 3 %d %d 5\nUdp: InDatagrams\nUdp: 7\n" % (active, passive, inside, outside)
    )


@pytest.fixture
def snmp(tmp_path):
    path = tmp_path / "snmp"
    path.write_bytes(table())
    return path


def test_each_side_of_a_connection_is_one_that_was_made(snmp):
    assert counters(table()) == (18, 204)
    activity = TcpActivity(str(snmp))
    assert activity.changes() == (False, False)
    for values in ({"active": 8}, {"passive": 12}):
        snmp.write_bytes(table(**values))
        assert activity.changes() == (True, False)
    activity.close()


def test_segments_of_either_way_move(snmp):
    activity = TcpActivity(str(snmp))
    for values in ({"inside": 102}, {"outside": 104}):
        snmp.write_bytes(table(**values))
        assert activity.changes() == (False, True)
    activity.close()


def test_a_change_is_there_until_it_is_taken(snmp):
    activity = TcpActivity(str(snmp))
    snmp.write_bytes(table(active=8, inside=109))
    assert activity.changes() == activity.changes() == (True, True)
    activity.take()
    assert activity.changes() == (False, False)
    activity.close()
    activity.close()


def test_where_the_counters_cannot_be_read_everything_may_have_moved(snmp, tmp_path):
    activity = TcpActivity(str(tmp_path / "none"))
    assert activity.changes() == (False, True)
    activity.take()
    assert activity.changes() == (False, True)
    activity.close()
    readable = TcpActivity(str(snmp))
    snmp.write_bytes(b"Tcp: RtoAlgorithm\n")
    assert readable.changes() == (False, True)
    readable.close()


@given(st.binary(max_size=300))
@example(NAMES + b"Tcp: 1\n")
@example(NAMES + NAMES)
@example(NAMES)
def test_any_table_is_read_or_not_known(content):
    assert counters(content) is None or len(counters(content)) == 2


def test_this_kernel_has_these_counters():
    activity = TcpActivity()
    assert isinstance(activity.changes().moved, bool)
    with open("/proc/thread-self/net/snmp", "rb") as file:
        assert counters(file.read()) is not None
    activity.close()
