"""`blame FILE...`: waits are followed from host to host, by the reversed pair of addresses."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from support.fleet import (
    BEGUN_MS,
    PID,
    Origin,
    address,
    beat,
    holds,
    lines,
    link,
    origin,
    process,
    ring,
    starts,
    stream,
    waits,
)

from xctl_probe.commands.blame.fleet import Span, run
from xctl_probe.errors import UsageError
from xctl_probe.events import PeerActivity, Placement, Process, State
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.origin import with_origin
from xctl_probe.recordings.members import pack

STOPPED, RUNNING = PeerActivity.STOPPED, PeerActivity.RUNNING


@pytest.fixture
def asked(capfdbinary):
    """What the command answers of files, and its lines on stderr."""

    def ask(files, *, pid=None, job=None, as_json=True, **span):
        reported = []
        run(files, 1, reported.append, pid=pid, job=job, as_json=as_json, span=Span(**span))
        out = capfdbinary.readouterr().out
        return (json.loads(out) if as_json else out.decode()), reported

    return ask


def verdict(asked, files, **given):
    found, reported = asked(files, **given)
    assert reported == []
    return found["verdict"]


def test_a_ring_leads_to_the_rank_that_is_stopped(asked, tmp_path):
    found, reported = asked(ring(tmp_path, 5, 3))
    assert found["verdict"] == (
        "4 of 5 ranks of job 4711 wait for rank 3 (pid 3003 on node3, stopped)"
    )
    (culprit,) = found["culprits"]
    assert (culprit["pid"], culprit["host"]) == (3003, "node3")
    assert found["ts"] == BEGUN_MS + 30_000
    by_node = {one["node"]: (one["host"], one["pid"]) for one in found["processes"]}
    assert sorted(by_node[node] for node in culprit["waiters"]) == [
        (f"node{rank}", PID + rank) for rank in (0, 1, 2, 4)
    ]
    chain = {
        one["rank"]: [by_node[wait["peer_node"]][0] for wait in one["waits"]]
        for one in found["processes"]
    }
    assert chain == {0: ["node4"], 1: ["node0"], 2: ["node1"], 3: [], 4: ["node3"]}
    assert reported == []


def test_the_text_has_the_hosts(asked, tmp_path):
    text, _ = asked(ring(tmp_path, 3, 1), as_json=False)
    first, sentence, _, *tree = text.splitlines()
    assert first.endswith(", the moment of most waits of 3 hosts:")
    assert sentence == "2 of 3 ranks of job 4711 wait for rank 1 (pid 3001 on node1, stopped)"
    assert tree[:3] == [
        "  train (rank 0, pid 3000 on node0)",
        "    waits 2.0 s for data from train (rank 2, pid 3002 on node2) at 10.0.0.3:5200 "
        "(no_reply)",
        "      waits 2.0 s for data from train (rank 1, pid 3001 on node1) at 10.0.0.2:5102 "
        "(no_reply): stopped",
    ]


def test_what_the_peer_process_does_comes_from_its_own_host(asked, tmp_path):
    """It computes; it sleeps; nothing is known of it but that it waits on the same connection."""
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))

    def peer(*records):
        return stream(tmp_path / "1", origin(1), beat(30), *records)

    states = {
        RUNNING: "running",
        None: "its threads sleep",
        PeerActivity.FROZEN: "frozen with its cgroup",
    }
    for seen, words in states.items():
        expected = f"rank 1 (pid 3001 on node1, {words})"
        found = verdict(asked, [waiter, peer(holds(1, [0], 29, seen))])
        assert found == f"1 of 2 ranks of job 4711 waits for {expected}"
    both = peer(waits(1, 0, 30))
    assert verdict(asked, [waiter, both]) == (
        "dead-lock: train (rank 0, pid 3000 on node0) and train (rank 1, pid 3001 on node1) "
        "wait for each other"
    )


def test_the_latest_report_before_the_moment_counts(asked, tmp_path):
    """Later ones, and connections that it no longer reports, do not."""
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    peer = [holds(1, [0], 10, RUNNING), holds(1, [0], 29, STOPPED), holds(1, [0], 33, RUNNING)]
    files = [waiter, stream(tmp_path / "1", origin(1), *peer)]
    assert verdict(asked, files).endswith("(pid 3001 on node1, stopped)")
    last = stream(tmp_path / "2", origin(2), holds(2, [1], 29))  # leads to the same address
    peer = [holds(1, [0], 10), holds(1, [2], 29)]
    files = [waiter, stream(tmp_path / "1", origin(1), *peer), last]
    assert "10.0.0.2:5100 on node1, whose process is not in its stream" in verdict(asked, files)
    exited = starts(1, 29, State.EXIT)
    files = [waiter, stream(tmp_path / "1", origin(1), holds(1, [0], 28), exited)]
    assert "10.0.0.2:5100, which no stream covers" in verdict(asked, files)


@pytest.mark.parametrize(
    "later",
    [
        [waits(0, 1, 31, ms=3_400, ongoing=False)],
        [holds(1, [0], 31)],
        [starts(1, 31, State.EXIT), starts(0, 31, State.EXIT)],
        [starts(1, 30.5, State.EXIT)],
        [holds(1, [2], 30.1)],
    ],
)
def test_what_comes_after_the_moment_does_not_change_it(asked, tmp_path, later):
    """The rank goes on, exits, or loses its connection: in the same second or the next one."""
    path = tmp_path / "both"
    before = [starts(0), starts(1), holds(1, [0], 28, STOPPED)]
    steady = [waits(0, 1, second, ms=second * 100) for second in (29, 30)]
    data = b"".join(
        stream(path, origin(one.owner.pid - PID), one).read_bytes()
        for one in (*before, *steady, *later)
    )
    path.write_bytes(data)
    assert verdict(asked, [path]) == (
        "1 of 2 ranks of job 4711 waits for rank 1 (pid 3001 on node1, stopped)"
    )


def test_without_an_earlier_report_the_next_one_counts(asked, tmp_path):
    """As far as the clocks may differ."""
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    peer = [holds(1, [0], 31.7, STOPPED), holds(1, [0], 31.9, RUNNING)]
    files = [waiter, stream(tmp_path / "1", origin(1), *peer)]
    assert "which no stream covers" in verdict(asked, files)
    assert verdict(asked, files, clock_skew="2s").endswith("(pid 3001 on node1, stopped)")


def test_an_exit_parts_two_processes_with_one_pid(asked, tmp_path):
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    former = [holds(1, [0], 20, STOPPED), starts(1, 21, State.EXIT), starts(1, 22)]
    files = [waiter, stream(tmp_path / "1", origin(1), *former)]
    assert "10.0.0.2:5100, which no stream covers" in verdict(asked, files)
    begun = [starts(1, 29), starts(1, 29, State.EXIT)]  # each file repeats what has begun
    files = [waiter, stream(tmp_path / "1", origin(1), holds(1, [0], 28), *begun)]
    assert "10.0.0.2:5100, which no stream covers" in verdict(asked, files)


def test_a_start_after_a_report_changes_nothing(asked, tmp_path):
    """Each file of a recording begins with the processes that have begun."""
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    peer = stream(tmp_path / "1", origin(1), holds(1, [0], 28, STOPPED), starts(1, 29))
    assert verdict(asked, [waiter, peer]).endswith("(pid 3001 on node1, stopped)")


def test_the_trail_leaves_the_streams(asked, tmp_path):
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    found, _ = asked([waiter])
    assert found["verdict"] == (
        "1 of 1 rank of job 4711 waits for 10.0.0.2:5100, which no stream covers"
    )
    assert any("--connections" in note for note in found["notes"])


def test_a_process_on_the_same_host_is_followed(asked, tmp_path):
    server = Process(17, 0, "server")
    record = waits(0, 1, 30, peer=server, peer_activity=RUNNING)
    found = verdict(asked, [stream(tmp_path / "0", origin(0), record)])
    assert found == "1 of 1 rank of job 4711 waits for server (pid 17 on node0, running)"


def test_loopback_is_another_host_elsewhere(asked, tmp_path):
    """Two hosts with the same pair on loopback have nothing to do with each other."""

    def local(rank, to):
        at, there = link(rank, to), link(to, rank)
        socket = replace(at, local_address="127.0.0.1", remote_address="127.0.0.1")
        record = waits(rank, to, 30)
        assert there.local_port == at.remote_port
        return replace(record, stall=replace(record.stall, socket=socket))

    files = [stream(tmp_path / str(rank), origin(rank), local(rank, 1 - rank)) for rank in (0, 1)]
    found, _ = asked(files)
    assert [one["pid"] for one in found["culprits"]] == [None, None]


def test_an_address_of_several_hosts_names_none_of_them(asked, tmp_path):
    """As 172.17.0.2 of each host's containers."""
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    files = [stream(tmp_path / str(n), origin(n), holds(1, [0], 29, STOPPED)) for n in (1, 2)]
    found, _ = asked([waiter, *files])
    assert found["verdict"].endswith("10.0.0.2:5100, whose host is not known")
    assert any("several hosts" in note for note in found["notes"])


def between(rank, to, record):
    """The same wait or connections with addresses that containers of any host have."""
    text = with_origin(to_line, origin(rank))(record).decode()
    for number in (rank, to):
        text = text.replace(f'"{address(number)}:', f'"172.17.0.{number + 1}:')
    return text.encode()


def test_a_private_address_of_one_host_may_be_of_another_one(asked, tmp_path):
    """The stream of node0 need not show that a container of its own has it."""
    (tmp_path / "0").write_bytes(between(0, 1, waits(0, 1, 30)))
    (tmp_path / "1").write_bytes(between(1, 2, holds(1, [2], 29)))
    files = [tmp_path / "0", tmp_path / "1"]
    expected = "1 of 2 ranks of job 4711 waits for 172.17.0.2:5100, whose host is not known"
    assert verdict(asked, files) == expected
    # A connection of another host leads to it.
    (tmp_path / "2").write_bytes(between(2, 1, holds(2, [1], 29)))
    assert "172.17.0.2:5100 on node1, whose process is" in verdict(asked, [*files, tmp_path / "2"])


def test_a_pair_of_another_hosts_containers_is_not_taken(asked, tmp_path):
    """Both sides of the pair are on node1; node0 waits in a pair of the same numbers."""
    (tmp_path / "0").write_bytes(between(0, 1, waits(0, 1, 30)))
    client = with_origin(to_line, origin(1))(holds(0, [1], 29)).replace(b"10.0.0.", b"172.17.0.")
    (tmp_path / "1").write_bytes(between(1, 0, holds(1, [0], 29, STOPPED)) + client)
    found, _ = asked([tmp_path / "0", tmp_path / "1"])
    assert found["verdict"].endswith("172.17.0.2:5100, whose host is not known")
    assert any("1 wait for an address that several" in note for note in found["notes"])
    # A wait of the same host is followed.
    own = with_origin(to_line, origin(1))(waits(0, 1, 30)).replace(b"10.0.0.", b"172.17.0.")
    with (tmp_path / "1").open("ab") as file:
        file.write(own)
    found, _ = asked([tmp_path / "0", tmp_path / "1"])
    assert [one["host"] for one in found["culprits"] if one["pid"]] == ["node1"]


@pytest.mark.parametrize("before_s", [30, 90])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_host_that_is_down_is_named(asked, tmp_path, before_s, recorded):
    """What its process did last is no present state."""
    parts = [[starts(1, -5)], [holds(1, [0], 0, RUNNING)], [beat(0)], [beat(1)]]
    parts = [lines(origin(1), *records) for records in parts]
    peer = tmp_path / "1.ndjson.gz"
    packed = [pack([part]) if recorded else gzip.compress(part) for part in parts]
    peer.write_bytes(b"".join(packed))
    beats = [beat(second) for second in range(1, before_s)]
    late = stream(tmp_path / "0", origin(0), *beats, waits(0, 1, before_s + 1))
    assert verdict(asked, [late, peer]) == (
        "1 of 2 ranks of job 4711 waits for rank 1 (pid 3001 on node1, "
        f"the stream of node1 stops {before_s}.0 s before)"
    )
    # A stream that has no record of each interval does not show it.
    peer.write_bytes(b"".join(packed[:2]))
    assert "stops" not in verdict(asked, [late, peer])


def test_the_address_of_a_host_that_is_down_is_remembered(asked, tmp_path):
    """Of its process nothing is known."""
    peer = stream(tmp_path / "1", origin(1), holds(1, [2], 0), beat(0))
    other = stream(tmp_path / "2", origin(2), holds(2, [1], 0), beat(0))
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 90))
    assert verdict(asked, [waiter, peer, other]) == (
        "1 of 3 ranks of job 4711 waits for 10.0.0.2:5100 on node1, "
        "whose stream stops 90.0 s before"
    )


def test_each_host_of_a_file_may_be_down_by_itself(asked, tmp_path):
    path = tmp_path / "all"
    steady = [lines(origin(0), beat(second), waits(0, 1, second)) for second in range(60)]
    gone = [lines(origin(1), beat(second), holds(1, [0], second)) for second in range(20)]
    path.write_bytes(b"".join([*steady[:1], *gone, *steady[1:]]))
    assert verdict(asked, [path]).endswith("on node1, the stream of node1 stops 40.0 s before)")


def test_a_host_that_has_begun_anew_is_not_two(asked, tmp_path):
    """The address is of its present boot only."""
    now = replace(origin(1), boot_id=origin(7).boot_id)
    (tmp_path / "1").mkdir()
    stream(tmp_path / "1/a.ndjson", origin(1), holds(1, [0], 0, STOPPED), beat(0))
    stream(tmp_path / "1/b.ndjson", now, beat(80), holds(1, [0], 89, RUNNING), beat(90))
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 90))
    assert verdict(asked, [waiter, tmp_path / "1"]) == (
        "1 of 2 ranks of job 4711 waits for rank 1 (pid 3001 on node1, running)"
    )


def test_what_is_only_probable_is_left_out(asked, tmp_path):
    likely = [waits(0, to, 40, probable=True) for to in (1, 2)]
    path = stream(tmp_path / "0", origin(0), waits(0, 1, 30), waits(2, 1, 30, probable=True))
    other = stream(tmp_path / "1", origin(0), *likely)
    found, reported = asked([path, other])
    assert found["ts"] == BEGUN_MS + 30_000
    assert [one["pid"] for one in found["processes"]] == [3_000]
    assert reported == []


def test_a_pid_that_another_process_has_by_now_has_no_rank(asked, tmp_path):
    """The probe did not run when the former process exited; the stall names no job."""
    former = [starts(0), holds(0, [2], 29, STOPPED), starts(1)]
    curl = replace(waits(0, 1, 30), placement=None)
    curl = replace(curl, stall=replace(curl.stall, owner=Process(PID, 0, "curl")))
    path = stream(tmp_path / "0", origin(0), *former, curl)
    assert verdict(asked, [path]).startswith("curl (pid 3000 on node0) waits for 10.0.0.2:5100")
    other = replace(waits(0, 1, 30), placement=Placement(job_id="4712", rank=7))
    found, _ = asked([stream(tmp_path / "0", origin(0), *former, other)])
    assert found["verdict"].startswith("1 of 1 rank of job 4712 waits for ")
    assert [(one["rank"], one["state"]) for one in found["processes"]] == [(7, None)]
    # Without another name it is the same one.
    unnamed = replace(waits(0, 1, 30), placement=None)
    path = stream(tmp_path / "0", origin(0), starts(0), starts(1), unnamed)
    assert verdict(asked, [path]).startswith("1 of 2 ranks of job 4711 waits for ")


def test_connections_that_change_do_not_displace_the_waits(asked, tmp_path):
    """A proxy reports 2,000 of them each second; of these, the last ones are of the moment."""
    proxy = [holds(1, list(range(2, 2_002)), second) for second in range(60)]
    beats = [lines(origin(1), one, beat(second)) for second, one in enumerate(proxy)]
    path = tmp_path / "0"
    path.write_bytes(b"".join([*beats, lines(origin(1), waits(0, 1, 59))]))
    found, _ = asked([path])
    assert [one["pid"] for one in found["processes"]] == [PID]
    assert not any("left out" in note for note in found["notes"])


def test_begins_do_not_displace_connections(asked, tmp_path, monkeypatch):
    """Each file of a recording repeats them; what is left out is counted."""
    monkeypatch.setattr("xctl_probe.commands.blame.fleet.MOST_ROWS", 12)
    again = [starts(rank, second) for second in range(20) for rank in range(1, 12)]
    path = stream(tmp_path / "1", origin(1), *again, holds(1, [0], 29, STOPPED))
    waiter = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    assert verdict(asked, [waiter, path]).endswith("rank 1 (pid 3001 on node1, stopped)")
    many = stream(tmp_path / "2", origin(2), *(starts(rank) for rank in range(20)))
    found, _ = asked([waiter, path, many])
    assert found["verdict"].endswith("rank 1 (pid 3001 on node1, stopped)")
    assert "19 records are left out; name fewer files" in found["notes"]


def test_lines_in_any_order_are_found(asked, tmp_path):
    """The first and the last line of a file are of times without a wait."""
    path = stream(tmp_path / "0", origin(0), beat(100), waits(0, 1, 0), beat(103))
    found, _ = asked([path])
    assert found["ts"] == BEGUN_MS
    assert [one["pid"] for one in found["processes"]] == [3_000]


def test_a_name_of_two_hosts_is_distinguished_by_the_boot(asked, tmp_path):
    names = [replace(origin(rank), host="localhost") for rank in (0, 1)]
    waiter = stream(tmp_path / "0", names[0], waits(0, 1, 30))
    peer = stream(tmp_path / "1", names[1], holds(1, [0], 29, STOPPED))
    assert verdict(asked, [waiter, peer]).endswith("(pid 3001 on localhost/6f1c1f6e, stopped)")


def test_clocks_that_differ(asked, tmp_path):
    """By less than --clock-skew, the two sides of a dead-lock are one moment."""
    files = [
        stream(tmp_path / "0", origin(0), waits(0, 1, 30)),
        stream(tmp_path / "1", origin(1), waits(1, 0, 35, ms=2_000)),
    ]
    assert "dead-lock" not in verdict(asked, files)
    assert "dead-lock" in verdict(asked, files, clock_skew="5s")


@pytest.mark.parametrize("other", [0, 1])
def test_a_wait_that_is_over_is_in_no_dead_lock_with_a_later_one(asked, tmp_path, other):
    """On one host or two: it is over at 30.1, the one of the other side begins at 30.3 or later."""
    path = tmp_path / "both"
    over = [waits(0, 1, 30, ms=1_000), waits(0, 1, 31, ms=1_100, ongoing=False)]
    for ms in (700, 1_700):
        later = [waits(1, 0, 31 + ms // 1_000, ms=ms), waits(1, 2, 31 + ms // 1_000, ms=ms)]
        data = stream(path, origin(0), beat(30), *over).read_bytes()
        path.write_bytes(data + stream(tmp_path / "part", origin(other), *later).read_bytes())
        found, _ = asked([path], clock_skew="5s")
        assert "dead-lock" not in found["verdict"]
        assert {one["pid"] for one in found["processes"]} == {3_001}


def test_a_chain_on_one_host_has_waits_of_one_time(asked, tmp_path):
    """Rank 0 has waited for rank 1, which waits for rank 2 since: no skew within one host."""
    records = [waits(0, 1, 29), waits(0, 1, 30, ms=2_050, ongoing=False)]
    records += [waits(1, 2, 31, ms=900), waits(1, 3, 31, ms=900)]
    found, _ = asked([stream(tmp_path / "0", origin(0), *records)], clock_skew="5s")
    assert {one["pid"] for one in found["processes"]} == {3_001}


def test_waits_of_a_clock_that_is_late_lasted_together(asked, tmp_path):
    """Of two waits of its host that do not overlap, the one before is not of the moment."""
    late = [waits(1, 2, 28, ms=1_000), waits(2, 3, 31, ms=900)]
    files = [
        stream(tmp_path / "0", origin(0), waits(0, 1, 34), waits(0, 2, 34)),
        stream(tmp_path / "1", origin(1), *late),
    ]
    found, _ = asked(files, clock_skew="9s")
    assert {one["pid"] for one in found["processes"]} == {3_000, 3_002}


def test_the_moment_of_most_waits_counts_and_a_job_has_its_own(asked, tmp_path):
    files = ring(tmp_path, 3, 0)
    other = replace(waits(0, 7, 50), placement=None)
    other = replace(other, stall=replace(other.stall, owner=Process(99, 0, "cron")))
    files.append(stream(tmp_path / "x", origin(9), other))
    assert "rank 0 (pid 3000 on node0" in verdict(asked, files)
    assert "cron (pid 99 on node9) waits for" in verdict(asked, files, pid=99)
    assert "rank 0 (pid 3000 on node0" in verdict(asked, files, job="4711")
    assert verdict(asked, files, job="471") == "job 471 waits for no other process on the network"


def test_clocks_are_noted_where_there_are_two(asked, tmp_path):
    """Also where no host of the moment is another one: its clock may be the reason."""
    note = "clocks may differ by 1.0 s; --clock-skew allows for more"
    files = [stream(tmp_path / "0", origin(0), waits(0, 1, 30))]
    assert note not in asked(files)[0]["notes"]
    files.append(stream(tmp_path / "1", origin(1), beat(500)))
    assert note in asked(files)[0]["notes"]


def test_an_interval_of_ten_seconds_spans_its_seconds(asked, tmp_path):
    """Records of hosts with long intervals never have the same second."""
    files = [
        stream(tmp_path / "0", origin(0), beat(20, 10_000), waits(0, 1, 21, ms=9_000)),
        stream(tmp_path / "1", origin(1), beat(20, 10_000), waits(1, 0, 28, ms=9_000)),
    ]
    assert "dead-lock" in verdict(asked, files)


def test_a_stall_that_was_over_before_the_moment_is_left_out(asked, tmp_path):
    busy = [waits(0, 1, 30), waits(0, 2, 30)]
    over = [waits(1, 0, 27), waits(1, 0, 28, ongoing=False)]
    files = [stream(tmp_path / "0", origin(0), *busy), stream(tmp_path / "1", origin(1), *over)]
    found, _ = asked(files)
    assert {one["host"] for one in found["processes"]} == {"node0"}


def test_streams_without_a_name_have_that_of_their_file(asked, tmp_path):
    waiter = stream(tmp_path / "left.ndjson.gz", None, waits(0, 1, 30))
    peer = stream(tmp_path / "right.ndjson", None, holds(1, [0], 29, STOPPED))
    assert verdict(asked, [waiter, peer]).endswith("(pid 3001 on right, stopped)")


def test_hostile_names_are_shown_without_control_characters(asked, tmp_path):
    waiter = stream(tmp_path / "0", Origin("a\x1b[31m\n", None), waits(0, 1, 30))
    text, _ = asked([waiter], as_json=False)
    assert "\x1b" not in text
    assert all(line == line.rstrip("\r") for line in text.splitlines())


def test_no_wait_is_no_moment(asked, tmp_path):
    found, _ = asked([stream(tmp_path / "0", origin(0), beat(1), beat(2))])
    assert found["verdict"] == "no process waits on the network for long"
    assert found["ts"] is None


def test_bad_input_is_one_line(asked, tmp_path):
    good = stream(tmp_path / "0", origin(0), beat(1))
    empty = tmp_path / "empty"
    empty.mkdir()
    for files, span, word in (
        ([tmp_path / "absent"], {}, "none of the files"),
        ([empty], {}, "none of the files"),
        ([good], {"clock_skew": "1"}, "--clock-skew 1"),
        ([good], {"clock_skew": "11m"}, "at most 10m"),
        ([good], {"since": "x"}, "--since x"),
    ):
        with pytest.raises(UsageError, match=word):
            asked(files, **span)


def test_a_file_with_a_problem_is_one_line_and_the_others_count(asked, tmp_path):
    files = ring(tmp_path, 3, 1)
    text = tmp_path / "notes.txt"
    text.write_text("no record\n\nnor this\n")
    broken = tmp_path / "2.ndjson"
    broken.write_bytes(
        broken.read_bytes() + b'{"ts":1795700030000,"event_type":"transport.drop"\n\xff\n'
    )
    cut = tmp_path / "cut.ndjson.gz"
    whole = stream(cut, origin(7), *[beat(n) for n in range(999)]).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    found, reported = asked([*files, text, cut, tmp_path / "absent", tmp_path / "x" / "y"])
    assert found["verdict"].startswith("2 of 3 ranks of job 4711 wait for rank 1 (pid 3001")
    assert "5 of 7 files could not be read whole; stderr names them" in found["notes"]
    assert sorted(line.removeprefix(f"{tmp_path}/") for line in reported) == [
        "2.ndjson: left out lines that are no record (2)",
        "absent: No such file or directory",
        "cut.ndjson.gz: left out compressed data that breaks off (1), lines that are no record (1)",
        "notes.txt: no stream of NDJSON; lines that are no record (2)",
        "x/y: No such file or directory",
    ]


def test_one_record_of_a_file_that_breaks_off_counts(asked, tmp_path):
    path = tmp_path / "cut.ndjson.gz"
    whole = stream(path, origin(0), waits(0, 1, 30)).read_bytes()
    path.write_bytes(whole + whole[:15])
    found, reported = asked([path])
    assert found["verdict"].endswith("10.0.0.2:5100, which no stream covers")
    assert reported == [f"{path}: left out compressed data that breaks off (1)"]


def test_an_address_that_is_none_is_printed_as_it_is(asked, tmp_path):
    path = stream(tmp_path / "0", origin(0), waits(0, 1, 30))
    path.write_bytes(path.read_bytes().replace(b'"10.0.0.2:5100"', b'"nowhere:5100"'))
    assert verdict(asked, [path]).endswith("nowhere:5100, which no stream covers")


def test_names_of_the_fixture_are_those_of_the_ranks():
    assert (address(1), process(1).pid) == ("10.0.0.2", 3001)
