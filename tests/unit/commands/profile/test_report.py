"""The profile as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.commands.profile.bound import Bound
from xctl_probe.commands.profile.categories import Category
from xctl_probe.commands.profile.profiled import CallCounts, Latencies, Profiled
from xctl_probe.commands.profile.report import duration, picture, to_json, to_text
from xctl_probe.commands.profile.threads import ThreadSamples
from xctl_probe.commands.profile.usage import Usage
from xctl_probe.ebpf.profile import BUCKETS, Descriptor


def buckets(**places):
    return tuple(places.get(f"at{n}", 0) for n in range(BUCKETS))


def call(name, kind, category, times, **more):
    values = {
        "failures": 0,
        "total_ns": 0,
        "sleep_ns": 0,
        "bytes": 0,
        "buckets": buckets(at4=times),
    }
    return CallCounts(name, kind, category, times, **(values | more))


SAMPLES = ThreadSamples({})
SAMPLES.moments = Counter({Activity.NETWORK: 9, Activity.CPU: 1})
SAMPLES.waits = Counter({(Activity.NETWORK, "recvfrom (socket)"): 9})
CALLS = (
    call("recvfrom", Descriptor.INTERNET, Category.NETWORK, 23, total_ns=46_000_000, bytes=2_047),
    call("accept4", Descriptor.INTERNET, Category.NETWORK, 3),
    call("accept", Descriptor.INTERNET, Category.NETWORK, 2),
    call("openat", Descriptor.NONE, Category.FILE, 11, failures=11, total_ns=11_000),
    call("read", Descriptor.NONE, Category.FILE, 5, bytes=29),
)
USAGE = Usage(300_000_000, 100_000_000, 0, 29, 1, 5, 0, 2_076, 0, 0, 4_096)
FOUND = Profiled(
    233, "train", 2_000_000_000, 1, Bound("network", "it waits"), USAGE, SAMPLES, CALLS,
    {("openat", "ENOENT"): 11},
)  # fmt: skip


def test_the_text_is_complete():
    lines = to_text(FOUND).decode().splitlines()
    assert lines[0] == "train (pid 233), 2.0 s: bound by network: it waits"
    assert "  CPU      20.0 % of a core (user 15.0, system 5.0)" in lines
    assert "  memory   29 page faults, 1 of them from disk" in lines
    assert "  network  sent 0 B, received 2.0 KiB" in lines
    assert [line.split() for line in lines if line.startswith(("  network   ", "  file   "))] == [
        ["network", "28", "14.0", "46", "ms"],
        ["file", "16", "8.0", "11", "us"],
    ]
    assert ["recvfrom", "(socket)", "23", "0", "2", "ms", "2.0", "KiB"] in map(str.split, lines)
    assert ["openat", "ENOENT", "11"] in map(str.split, lines)
    assert "  accept: 5 calls, mean 0" in lines
    assert not any(line.startswith("  read: ") for line in lines)  # of a file


SENDMMSG = call("sendmmsg", Descriptor.INTERNET, Category.NETWORK, 9)
RECVMMSG = call("recvmmsg", Descriptor.INTERNET, Category.NETWORK, 9, failures=2)
SPLICE = call("splice", Descriptor.LOCAL, Category.IPC, 3, bytes=4_096)


def test_bytes_that_are_not_counted_are_never_none():
    found = replace(FOUND, calls=(SENDMMSG, RECVMMSG))
    lines = to_text(found).decode().splitlines()
    assert "  network  sent not counted in sendmmsg, received not counted in recvmmsg" in lines
    assert ["sendmmsg", "(socket)", "9", "0", "0", "not", "counted"] in map(str.split, lines)
    answer = json.loads(to_json(found))
    assert (answer["sent_bytes"], answer["received_bytes"]) == (None, None)
    assert answer["uncounted"] == {"sent": ["sendmmsg"], "received": ["recvmmsg"]}
    assert [one["bytes"] for one in answer["calls"]] == [None, None]


def test_bytes_that_are_counted_in_part_are_named_with_the_rest():
    found = replace(FOUND, calls=(*CALLS, RECVMMSG, SPLICE))
    assert (
        "  network  sent not counted in splice, received 2.0 KiB (and not counted in recvmmsg)"
    ) in to_text(found).decode().splitlines()
    answer = json.loads(to_json(found))
    assert (answer["sent_bytes"], answer["received_bytes"]) == (None, 2_047)


def test_a_call_that_failed_each_time_moved_nothing():
    found = replace(FOUND, calls=(replace(RECVMMSG, failures=9),))
    assert "  network  sent 0 B, received 0 B" in to_text(found).decode().splitlines()


def test_a_splice_from_a_socket_receives():
    found = replace(FOUND, calls=(replace(SPLICE, kind=Descriptor.INTERNET),))
    assert "  network  sent 0 B, received 4.0 KiB" in to_text(found).decode().splitlines()


def test_several_processes_and_lost_calls_are_named():
    text = to_text(replace(FOUND, processes=3, lost=7)).decode()
    assert text.startswith("train (pid 233) and 2 children, 2.0 s: ")
    assert "7 calls are missing" in text


@pytest.mark.parametrize(
    ("by", "verdict"),
    [
        ("idle", "bound by nothing"),
        ("mixed", "bound by several"),
        ("stopped", "stopped"),
        ("unknown", "bound by an unknown wait"),
        ("cpu", "bound by cpu"),
    ],
)
def test_each_verdict_has_its_words(by, verdict):
    found = replace(FOUND, bound=Bound(by, "so it is"))
    assert to_text(found).decode().startswith(f"train (pid 233), 2.0 s: {verdict}: so it is\n")
    assert json.loads(to_json(found))["bound_by"] == by


def test_without_counts_the_samples_are_shown():
    text = to_text(replace(FOUND, calls=None, failures=None)).decode()
    assert "recvfrom (socket) (network)" in text
    assert "network  sent" not in text
    answer = json.loads(to_json(replace(FOUND, calls=None, failures=None)))
    assert answer["counted"] is False
    assert "calls" not in answer


def test_no_table_is_without_lines():
    """Of a process that is in one call all the while, and of one that computes."""
    lines = to_text(replace(FOUND, calls=(), failures={})).decode().splitlines()
    assert lines[-2:] == ["", "  no system call returned in this time"]
    assert not any("most calls" in line for line in lines)
    found = replace(FOUND, calls=None, failures=None, samples=ThreadSamples({}))
    assert "threads waited in" not in to_text(found).decode()


def test_the_json_has_the_same():
    answer = json.loads(to_json(FOUND))
    assert (answer["bound_by"], answer["reason"]) == ("network", "it waits")
    assert answer["categories"] == {
        "network": {"times": 28, "total_ns": 46_000_000},
        "file": {"times": 16, "total_ns": 11_000},
    }
    assert answer["calls"][0]["name"] == "recvfrom"
    assert answer["failures"] == [{"call": "openat", "errno": "ENOENT", "times": 11}]
    assert answer["latencies"].keys() == {"recvfrom", "accept"}
    assert sum(answer["latencies"]["accept"]["buckets"]) == 5
    assert (answer["sent_bytes"], answer["received_bytes"]) == (0, 2_047)
    assert answer["uncounted"] == {"sent": [], "received": []}


def test_a_picture_has_a_bar_for_each_power_of_two():
    one = Latencies("recvfrom", 13, 13_000, buckets(at0=2, at2=1, at31=10))
    first, *bars = picture(one)
    assert first == "  recvfrom: 13 calls, mean 1 us"
    assert len(bars) == BUCKETS
    assert bars[0] == f"             0 - 256 ns |{'#' * 8:<40}| 2"
    assert bars[1] == f"        256 ns - 512 ns |{'':<40}| 0"
    assert bars[2] == f"       512 ns - 1.02 us |{'#' * 4:<40}| 1"
    assert bars[31] == f"         275 s and more |{'#' * 40}| 10"


def test_a_time_has_three_digits():
    found = [duration(ns) for ns in (0, 7, 1_024, 2_500_000, 3_000_000_000, 7_200_000_000_000)]
    assert found == ["0", "7 ns", "1.02 us", "2.5 ms", "3 s", "7,200 s"]
