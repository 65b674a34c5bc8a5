"""The series: exact values, unique lines, a bounded number, fair to users."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from support.metrics import parsed, values
from support.records import TEXT as ANY_NAME

from xctl_probe.prometheus.families import (
    INTERFACE_BYTES,
    PROCESS_BYTES,
    RETRANSMITS,
    WAIT_SECONDS,
)
from xctl_probe.prometheus.registry import OPENMETRICS, TEXT, Group, Registry


def group(comm, uid=1_009):
    return Group((("job_id", ""), ("comm", comm)), uid)


def test_series_are_lines_of_their_family():
    """Labels without a value are left out; seconds have all their digits."""
    registry = Registry()
    registry.find(group("train"), PROCESS_BYTES, ("eth0", "send")).value += 2**62 + 1
    wait = ("", "receive", "no_reply", "train", "running", "")
    registry.find(group("train"), WAIT_SECONDS, wait).value += 1_391_000_007
    head = "# HELP xctl_net_{0}{1} {2}\n# TYPE xctl_net_{0}{1} counter\n"
    sent = 'xctl_net_process_bytes_total{comm="train",interface="eth0",direction="send"} '
    waited = 'xctl_net_wait_seconds_total{comm="train",direction="receive",cause="no_reply",'
    waited += 'peer_comm="train",peer_state="running"} '
    expected = [
        head.format("process_bytes", "{0}", PROCESS_BYTES.help),
        "{1}",
        f"{sent}4611686018427387905\n",
        head.format("wait_seconds", "{0}", WAIT_SECONDS.help),
        "{2}",
        f"{waited}1.391000007\n",
    ]
    text = "".join(expected).replace("{0}", "_total").replace("{1}", "").replace("{2}", "")
    assert registry.text(TEXT).decode() == text
    units = [f"# UNIT xctl_net_{f.name} {f.unit}\n" for f in (PROCESS_BYTES, WAIT_SECONDS)]
    text = "".join(expected).replace("{0}", "")
    text = text.replace("{1}", units[0]).replace("{2}", units[1])
    assert registry.text(OPENMETRICS).decode() == f"{text}# EOF\n"


@given(st.lists(st.tuples(ANY_NAME, st.integers(0, 2**63)), max_size=9))
def test_any_name_is_a_label_that_parsers_read(named):
    """No line comes twice and no byte is lost, whatever the names are."""
    registry = Registry()
    for name, count in named:
        registry.find(group(name), PROCESS_BYTES, ("eth0", "send")).value += count
    for as_openmetrics, kind in ((False, TEXT), (True, OPENMETRICS)):
        found = parsed(registry.text(kind), as_openmetrics=as_openmetrics)
        assert sum(value for _, _, value in found) == sum(count for _, count in named)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a"b', 'a"b'),
        ("a\\b", "a\\b"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J\x00\x7f", "\\x1b[2J\\x00\\x7f"),
        ("\\xff", "\\xff"),  # a byte that is no UTF-8, as sources decode it
        ("训练", "训练"),
        ("\u2028\ud800", "\\u2028\\ud800"),
        ('"} 7\nxctl_net_probe_info 1', '"} 7\\nxctl_net_probe_info 1'),
        ("x" * 300, "x" * 256),
    ],
)
def test_a_name_is_shown_without_control_characters(name, shown):
    registry = Registry()
    registry.find(group(name), RETRANSMITS, ("eth0",))
    (family,) = text_string_to_metric_families(registry.text().decode())
    assert [one.labels["comm"] for one in family.samples] == [shown]


def test_names_that_are_shown_alike_share_a_series():
    """Prometheus refuses a line that comes twice."""
    registry = Registry()
    first, second = group("a\n"), group("a\\n")
    for one in (first, second):
        registry.find(one, RETRANSMITS, ("eth0",)).value += 23
    assert values(registry.text(), "retransmits_total") == [
        ({"comm": "a\\n", "interface": "eth0"}, Decimal(46))
    ]
    registry.drop(first)
    assert len(registry) == 1
    registry.drop(second)
    assert (len(registry), registry.text()) == (0, b"")


def test_what_finds_no_room_is_added_to_other():
    """Its labels have only values that the probe makes; nothing is lost."""
    registry = Registry(most=4)
    for number in range(7):
        series = registry.find(group(f"p{number}", None), PROCESS_BYTES, ("eth0", "send"))
        series.value += 1_009
    assert (len(registry), registry.overflowed) == (5, 3)
    other = dict.fromkeys(("job_id", "pod", "pod_namespace", "container", "comm"), "other")
    other |= {"interface": "other", "direction": "send"}
    assert values(registry.text(), "process_bytes_total", job_id="other") == [
        (other, Decimal(3_027))
    ]
    for number in range(7):
        registry.find(Group(), INTERFACE_BYTES, (f"eth{number}", "receive")).value += 7
    assert len(registry) == 6
    assert values(registry.text(), "interface_bytes_total") == [
        ({"interface": "other", "direction": "receive"}, Decimal(49))
    ]


def test_one_user_leaves_half_of_the_room_to_others():
    registry = Registry(most=20)
    for number in range(100):
        registry.find(group(f"flood{number}", 1_013), RETRANSMITS, ("eth0",)).value += 1
    shown = len(values(registry.text(), "retransmits_total")) - 1  # without other
    assert shown == 10
    before = registry.overflowed
    for number in range(5):
        registry.find(group(f"p{number}", 1_019), RETRANSMITS, ("eth0",))
    assert registry.overflowed == before


def test_room_is_given_back():
    registry = Registry(most=2)
    for number in range(7):
        one = group(f"p{number}", None)
        registry.find(one, PROCESS_BYTES, ("eth0", "send"))
        registry.find(one, PROCESS_BYTES, ("eth0", "receive"))
        registry.drop(one)
        registry.drop(one)
    assert (len(registry), registry.overflowed) == (0, 0)
