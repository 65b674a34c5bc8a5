"""The comparison of stalls with the truth: each rule by a few records."""

from __future__ import annotations

import pytest
from evaluation.asked import Answer, Blamed
from evaluation.compare import Observed, Window, blame, compare, stalls, why
from evaluation.results import Blame, Injection, Results, read
from evaluation.score import score
from evaluation.truth import NOTHING, Truth, Wait

INTERVAL_MS = 1000
AT, HEALED, RECOVERED = 100_000, 107_000, 107_500
NAMES = {11: "rank0", 13: "rank1", 17: "rank2", 29: "rank3"}
STOPPED = Truth(
    must=(Wait("rank0", frozenset({"rank1"})), Wait("rank2", frozenset({"rank1"}))),
    may=(Wait("rank1", frozenset({"rank0"})),),
    culprits=frozenset({"rank1"}),
)


def record(ts: int, ms: int, pid: int = 11, peer: int = 13, ongoing: bool = True, **net: object):
    """One record of a stall of `pid` for `peer`."""
    detail = {
        "ongoing": ongoing, "direction": "receive", "cause": "no_reply", "duration_ms": ms,
        "local": f"127.0.0.1:{pid}", "remote": f"127.0.0.1:{peer}",
    }  # fmt: skip
    return {
        "ts": ts, "came": ts + 5, "pid": pid, "entity_id": f"socket-{pid * 100 + peer}",
        "net": detail | net,
    }  # fmt: skip


def observed(ops: dict[str, list[tuple[int, int]]] | None = None) -> Observed:
    return Observed(
        name=NAMES.get,
        peer=lambda one: NAMES.get(int(one["net"]["remote"].rpartition(":")[2])),
        ops=ops or {},
    )


def scored(records, truth=STOPPED, ops=None):
    """The verdict of one window, and the false stalls outside of it."""
    found = stalls(records, INTERVAL_MS)
    window = Window(AT, HEALED, RECOVERED, truth)
    verdicts, outside = compare(found, [window], observed(ops), INTERVAL_MS)
    return verdicts[0], outside


def test_the_records_of_a_stall_are_one():
    found = stalls(
        [record(101_000, 900), record(102_000, 1900), record(103_000, 2300, ongoing=False)],
        INTERVAL_MS,
    )
    assert [len(one.records) for one in found] == [3]


def test_two_stalls_of_an_interval_are_two():
    over = [record(101_000, 300, ongoing=False), record(101_000, 200, ongoing=False)]
    assert len(stalls(over, INTERVAL_MS)) == 2


def test_a_reported_wait_is_found_with_its_times():
    ops = {"rank0": [(99_950, 107_060)]}
    verdict, outside = scored([record(101_000, 900), record(108_000, 7000, ongoing=False)], ops=ops)
    first, second = verdict.musts
    assert (first.found, first.right_peer, first.right_cause) == (True, True, True)
    assert (first.to_report_ms, first.length_error_ms) == (1005, 7000 - 7110)
    assert not second.found
    assert (verdict.true_stalls, verdict.false, outside) == (1, [], [])


def test_a_wait_reported_only_when_it_is_over_is_missed():
    verdict, _ = scored([record(108_000, 7000, ongoing=False)])
    assert [one.found for one in verdict.musts] == [False, False]


def test_a_wrong_peer_is_found_and_counted():
    verdict, _ = scored([record(101_000, 900, peer=17)])
    assert (verdict.musts[0].found, verdict.musts[0].right_peer) == (True, False)
    assert len(verdict.wrong_peer) == 1


def test_a_wrong_cause():
    verdict, _ = scored([record(101_000, 900, cause="loss")])
    assert (verdict.musts[0].right_peer, verdict.musts[0].right_cause) == (True, False)


def test_another_connection_of_the_right_peer_is_a_wrong_one():
    wait = Wait("rank0", frozenset({"rank1"}), not_ports=frozenset({13}))
    verdict, _ = scored([record(101_000, 900)], Truth(must=(wait,)))
    assert (verdict.musts[0].found, verdict.musts[0].right_peer) == (True, False)


def test_what_may_be_reported_is_neither_true_nor_false():
    verdict, _ = scored([record(101_000, 900, pid=13, peer=11)])
    assert (verdict.true_stalls, verdict.false, verdict.wrong_peer) == (0, [], [])


def test_a_stall_of_a_process_that_does_not_wait_is_false():
    verdict, _ = scored([record(101_000, 900, pid=13, peer=17)])
    assert len(verdict.false) == 1


@pytest.mark.parametrize(("ts", "ms"), [(60_000, 500), (103_000, 20_000)])
def test_a_stall_that_began_without_the_fault_is_false(ts, ms):
    _, outside = scored([record(ts, ms)])
    assert len(outside) == 1


def test_a_long_wait_that_a_healthy_process_measured_is_no_false_one():
    ops = {"rank0": [(58_000, 60_100)]}
    assert scored([record(60_000, 2000)], ops=ops)[1] == []
    assert scored([record(104_000, 2000)], NOTHING, {"rank0": [(102_000, 104_100)]})[0].false == []


@pytest.mark.parametrize(("late_ms", "is_false"), [(1_500, False), (2_500, True)])
def test_its_record_may_come_late_on_a_busy_host(late_ms, is_false):
    _, false = scored(
        [record(60_000 + late_ms, 2_000, ongoing=False)], ops={"rank0": [(58_000, 60_000)]}
    )
    assert bool(false) == is_false


def test_other_processes_do_not_count():
    assert scored([record(60_000, 500, pid=19)])[1] == []


def test_the_culprit_is_who_is_waited_for_and_does_not_wait():
    chain = [record(101_000, 900), record(101_000, 900, pid=17)]
    assert scored(chain)[0].right_culprit
    assert not scored([record(101_000, 900, peer=17)])[0].right_culprit
    assert not scored([])[0].right_culprit


def test_the_score_and_the_file(tmp_path):
    verdict, _ = scored(
        [record(101_000, 900), record(101_000, 900, pid=13, peer=17)],
        ops={"rank0": [(100_000, 107_000)]},
    )
    injection = Injection("gloo", "one", "stop", "rank1", AT, HEALED, RECOVERED)
    injection.sources["kernel"] = verdict
    results = Results([7], "2026-11-26", "Linux", [injection])
    results.write(tmp_path / "results.json")
    got = score(read(tmp_path / "results.json"), "kernel", lambda _: True)
    assert (got.precision, got.recall, got.right_peer, got.false) == (0.5, 0.5, 1.0, 1)


@pytest.mark.parametrize(
    ("who", "waits", "port", "expected"),
    [
        ("rank0", True, 13, (True, True, True)),
        ("rank0", True, 17, (True, True, False)),
        ("rank0", False, 13, (True, False, None)),
        ("rank1", False, 13, (False, False, None)),
    ],
)
def test_answers_of_why(who, waits, port, expected):
    answer = {
        "verdict": "one sentence", "waits": waits,
        "findings": [{"waits": waits, "inode": 7}],
        "tcp": [{"inode": 7, "local": "127.0.0.1:11", "remote": f"127.0.0.1:{port}"}],
    }  # fmt: skip
    (found,) = why(
        [Answer("kernel", who, answer)],
        STOPPED,
        lambda _, remote: NAMES.get(int(remote.rpartition(":")[2])),
    )
    assert (found.must, found.waits, found.right_peer) == expected


def test_why_of_a_process_that_neither_waits_nor_has_the_fault_does_not_count():
    assert why([Answer("kernel", "rank3", None)], STOPPED, lambda *_: None) == []


def culprit(pid=None, address=None, waiters=(11,), dead_lock=()):
    return {"pid": pid, "address": address, "waiters": list(waiters), "dead_lock": list(dead_lock)}


def wait_for(port, peer_pid=None):
    return {"peer_pid": peer_pid, "local": "127.0.0.1:11", "remote": f"127.0.0.1:{port}"}


@pytest.mark.parametrize(
    ("culprits", "named", "right", "wrong"),
    [
        ([culprit(13)], ["rank1"], True, False),
        ([culprit(address="127.0.0.1")], ["rank1"], True, False),
        ([culprit(17)], ["rank2"], False, False),  # it waits itself: the trail is not over
        ([culprit(29)], ["rank3"], False, True),
        ([culprit(13), culprit(29)], ["rank1", "rank3"], False, True),
        ([culprit(dead_lock=(11, 13))], ["rank0", "rank1"], False, False),
        ([culprit(address="10.83.0.1")], ["?"], False, True),
        ([culprit(23)], ["?"], False, True),
        ([], [], False, False),
    ],
)
def test_answers_of_blame(culprits, named, right, wrong):
    """By pid, or by the addresses of those that wait; what is unknown is another one."""
    processes = [{"pid": 11, "waits": [wait_for(13), wait_for(17, peer_pid=17)]}]
    answer = {"verdict": "one sentence", "culprits": culprits, "processes": processes}
    found = blame(Blamed("kernel", "rank0", answer), STOPPED, NAMES.get, peer_by_port)
    assert (found.named, found.right, found.wrong) == (named, right, wrong)


def peer_by_port(_, remote):
    return NAMES.get(int(remote.rpartition(":")[2]))


def test_an_error_of_blame_names_none():
    found = blame(Blamed("kernel", "rank0", None), STOPPED, NAMES.get, peer_by_port)
    assert (found.named, found.right) == ([], False)


@pytest.mark.parametrize(("who", "truth"), [("rank1", STOPPED), ("rank0", NOTHING)])
def test_blame_counts_where_somebody_waits_for_a_process(who, truth):
    assert blame(Blamed("kernel", who, None), truth, NAMES.get, peer_by_port) is None


def test_the_score_of_blame(tmp_path):
    """Who is named wrongly is apart from where none is named."""
    injections = []
    for named, right in ((["rank1"], True), (["rank3"], False), ([], False), (None, False)):
        verdict, _ = scored([])
        if named is not None:
            wrong = bool(named) and not right
            verdict.blame = Blame("rank0", named, right, wrong, "one sentence")
        injection = Injection("gloo", "one", "stop", "rank1", AT, HEALED, RECOVERED)
        injection.sources["kernel"] = verdict
        injections.append(injection)
    Results([7], "2026-11-26", "Linux", injections).write(tmp_path / "results.json")
    got = score(read(tmp_path / "results.json"), "kernel", lambda _: True)
    assert (got.blame_right, got.blame_wrong) == (1 / 3, 1 / 3)
