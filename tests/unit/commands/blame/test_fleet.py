"""`blame FILE...`: waits are followed from host to host, by the reversed pair of addresses."""

from __future__ import annotations

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
from xctl_probe.events import PeerActivity, Process, State

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
    files = [waiter, stream(tmp_path / "1", origin(1), holds(1, [0], 10), holds(1, [2], 29))]
    assert "10.0.0.2:5100 on node1, whose process is not in its stream" in verdict(asked, files)
    exited = starts(1, 29, State.EXIT)
    files = [waiter, stream(tmp_path / "1", origin(1), holds(1, [0], 28), exited)]
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
    assert found["verdict"].endswith("10.0.0.2:5100, which no stream covers")
    assert any("several hosts" in note for note in found["notes"])


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


def test_the_moment_of_most_waits_counts_and_a_job_has_its_own(asked, tmp_path):
    files = ring(tmp_path, 3, 0)
    other = replace(waits(0, 7, 50), placement=None)
    other = replace(other, stall=replace(other.stall, owner=Process(99, 0, "cron")))
    files.append(stream(tmp_path / "x", origin(9), other))
    assert "rank 0 (pid 3000 on node0" in verdict(asked, files)
    assert "cron (pid 99 on node9) waits for" in verdict(asked, files, pid=99)
    assert "rank 0 (pid 3000 on node0" in verdict(asked, files, job="4711")
    assert verdict(asked, files, job="471") == "job 471 waits for no other process on the network"


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
