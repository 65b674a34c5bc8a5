"""From when to when a file has each host, in any mixture of lines."""

from __future__ import annotations

from support.fleet import BEGUN_MS, beat, lines, origin

from xctl_probe.fleet.hosts import Covered, Hosts
from xctl_probe.fleet.rows import Host
from xctl_probe.recordings.lines import times_of


def hosts(*parts, interval_ms=1_000):
    found = Hosts()
    found.interval_ms = interval_ms
    for part in parts:
        if isinstance(part, tuple):
            found.pass_over(*(BEGUN_MS + second * 1_000 for second in part))
        else:
            times = times_of(part)
            found.add(part, times and times[:2], "stream")
    return found


def beats(rank, *seconds):
    return b"".join(lines(rank if rank is None else origin(rank), beat(at)) for at in seconds)


def seconds(found):
    return {
        host.name: tuple((ms - BEGUN_MS) // 1_000 for ms in times)
        for host, times in found.times.items()
    }


def test_the_times_of_each_host():
    """Of one host at a time, of several, of none named; members are of the host before."""
    found = hosts(beats(0, 3, 4), beats(0, 5), beats(1, 1), beats(0, 9) + beats(1, 2, 3), (7, 8))
    assert seconds(found)["node0"] in ((3, 9), (3, 8))
    assert seconds(found)["node1"][0] == 1
    assert seconds(hosts(beats(None, 3), beats(None, 7), beats(0, 9))) == {
        "stream": (3, 7),
        "node0": (9, 9),
    }
    assert seconds(hosts((1, 2), beats(0, 5), (6, 7))) == {"node0": (5, 7)}


def stopped(*files, at=100):
    found = Covered(files).stopped(BEGUN_MS + at * 1_000, 1_000)
    return {host.name: (ms - BEGUN_MS) // 1_000 for host, ms in found.items()}


def test_a_stream_is_over_where_all_of_its_files_are():
    first, last = hosts(beats(0, 1, 2)), hosts(beats(0, 60), (61, 62))
    assert stopped(("a", first), ("a", last)) == {"node0": 62}
    assert stopped(("a", first), ("b", last)) == {"node0": 62}
    # A file that names no host may be of this one.
    assert stopped(("a", first), ("a", hosts((98, 99)))) == {}
    assert stopped(("a", first), ("b", hosts((98, 99)))) == {"node0": 2}


def test_a_stream_that_may_be_idle_is_not_over():
    """It has no record of each interval, or lines of a form whose times are not read."""
    first = hosts(beats(0, 1, 2))
    assert stopped(("a", hosts(beats(0, 1), interval_ms=0))) == {}
    assert stopped(("a", hosts(beats(0, 1), b'{"a":1}\n'))) == {}
    assert stopped(("a", hosts(beats(0, 1), interval_ms=60_000))) == {}
    assert stopped(("a", first), at=6) == {}
    assert stopped(("a", first), at=9) == {"node0": 2}


def test_a_host_that_began_after_another_of_its_name():
    name = origin(0).host
    now = beats(0, 50).replace(origin(0).boot_id.encode(), b"1")
    covered = Covered([("a", hosts(beats(0, 1, 2), now))])
    before, after = Host(name, origin(0).boot_id), Host(name, "1")
    assert list(covered.begun_anew(BEGUN_MS + 60_000)) == [(before, after)]
    assert list(covered.begun_anew(BEGUN_MS + 40_000)) == []
