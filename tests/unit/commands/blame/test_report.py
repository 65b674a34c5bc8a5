"""The sentence, the tree under it, and the same for programs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from unit.commands.blame.test_graph import THERE, member, wait

from xctl_probe.commands.blame.collect import Collected
from xctl_probe.commands.blame.graph import Graph, Outside
from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.blame.rdma import RdmaUse
from xctl_probe.commands.blame.report import headline, to_json, to_text
from xctl_probe.commands.why.equals.lockstep import Held
from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs
from xctl_probe.events import PeerActivity, Process

STOPPED = {"activity": PeerActivity.STOPPED, "does": "stopped"}


def collected(*pairs, members=None, sizes=None, notes=()):
    pids = {node for pair in pairs for node in pair if isinstance(node, int)}
    found = {pid: replace(member(pid), **(members or {}).get(pid, {})) for pid in pids}
    waits = tuple(wait(*pair) for pair in pairs)
    return Collected(Graph(found, waits), "sampler", tuple(notes), sizes or {})


def lines(*args, subject=None, **options):
    text = to_text(collected(*args, **options), subject)
    assert text.isascii()
    assert b"\x1b" not in text
    return text.decode().splitlines()


def test_ranks_of_a_job_wait_for_a_rank():
    members = {pid: {"job": Job("4711", pid - 1)} for pid in (1, 2, 3, 4)}
    members[3] |= STOPPED
    found = collected((1, 3), (2, 3), (4, 3), members=members, sizes={"4711": 4})
    assert headline(found) == "3 of 4 ranks of job 4711 wait for rank 2 (pid 3, stopped)"


def test_processes_of_a_job_without_ranks():
    members = {pid: {"job": Job("4711", None)} for pid in (1, 2, 3)}
    found = collected((1, 3), (2, 3), members=members)
    assert headline(found) == "2 processes of job 4711 wait for c3 (pid 3)"


def test_one_process_waits_for_another():
    found = collected((1, 2), members={2: STOPPED})
    assert headline(found) == "c1 (pid 1) waits for c2 (pid 2, stopped)"


def test_the_trail_leaves_the_host():
    expected = "c1 (pid 1) waits for 10.0.0.11:6379, where the trail leaves this host"
    assert headline(collected((1, THERE))) == expected


def test_a_process_of_this_host_that_is_not_visible():
    found = collected((1, Outside("127.0.0.1", hidden=True)))
    expected = "c1 (pid 1) waits for 10.0.0.11:6379 on this host, whose process is not visible"
    assert headline(found) == expected


def test_a_dead_lock_is_named_as_such():
    assert headline(collected((1, 2), (2, 1))) == (
        "dead-lock: c1 (pid 1) and c2 (pid 2) wait for each other"
    )
    assert headline(collected((1, 2), (2, 3), (3, 1), (5, 3))) == (
        "dead-lock of 3 processes: c1 (pid 1) waits for c2 (pid 2), which waits for c3 (pid 3), "
        "which waits for c1 (pid 1); 1 process more waits for them"
    )
    assert headline(collected((1, 1))) == "dead-lock: c1 (pid 1) waits for itself"


def test_a_guess_is_marked():
    found = Collected(
        Graph({pid: member(pid) for pid in (1, 2)}, (wait(1, 2, certain=False),)), "", (), {}
    )
    assert headline(found) == "c1 (pid 1) probably waits for c2 (pid 2)"


def test_where_none_waits_the_answer_is_about_what_was_asked():
    assert headline(collected()) == "no process waits on the network for long"
    expected = "process 7 waits for no other process on the network"
    assert headline(collected(), "process 7") == expected
    expected = "none of your own processes waits on the network for long"
    assert headline(replace(collected(), own_only=True)) == expected


def test_a_stopped_process_is_named_though_none_waits_for_it():
    held = replace(member(3), **STOPPED, job=Job("4711", 2))
    alone = Collected(Graph({3: held}), "sampler", (), {})
    stopped = "c3 (rank 2, pid 3) is stopped (kill -CONT 3 lets it go on)"
    none = "job 4711 waits for no other process on the network"
    assert headline(alone, "job 4711") == f"{none}; {stopped}"
    beside = collected((1, 2))
    beside = replace(beside, graph=replace(beside.graph, members=beside.graph.members | {3: held}))
    assert to_text(beside).decode().splitlines()[1] == f"  also: {stopped}"
    waited_for = collected((1, 2), members={2: STOPPED})
    assert "also" not in to_text(waited_for).decode()


def test_several_stopped_processes_are_one_sentence():
    held = {pid: replace(member(pid), **STOPPED) for pid in range(1, 6)}
    named = "c1 (pid 1), c2 (pid 2), c3 (pid 3) and 2 more"
    found = headline(Collected(Graph(held), "sampler", (), {}))
    assert found.endswith(f"; 5 processes are stopped or frozen: {named}")


@pytest.mark.parametrize("pairs", [{"failed": 1}, {"moving": 1}])
def test_a_stopped_process_is_named_once_where_it_has_queue_pairs(pairs):
    rdma = RdmaUse((DeviceQueuePairs("mlx5_0", **pairs),))
    held = replace(member(3), **STOPPED, rdma=rdma)
    found = headline(Collected(Graph({3: held}), "sampler", (), {}))
    assert found.count("stopped (kill -CONT 3 lets it go on)") == 1


def test_what_could_not_be_seen_of_the_process_is_no_denial():
    found = replace(collected(), unseen="it waits for events, also from 10.0.0.7:5432")
    assert headline(found, "process 7") == (
        "whether process 7 waits on the network could not be seen: it waits for events, also from "
        "10.0.0.7:5432"
    )


def test_equals_that_are_silent_are_no_answer_that_all_is_well():
    """Idle, or held up by one that cannot be named, as in a dead-lock of locks."""
    found = replace(collected(), silent=Held([1, 2, 3], 7_001, []))
    assert headline(found, "job 4711") == (
        "job 4711 waits for no other process on the network that can be named; its connections "
        "have been silent for 7.0 s"
    )
    assert headline(found) == "no process waits on the network for long"


def test_the_tree_stops_at_the_process_that_waits_for_none():
    assert lines((1, 2), (2, 3), members={3: STOPPED}) == [
        "2 processes wait for c3 (pid 3, stopped)",
        "",
        "  c1 (pid 1)",
        "    waits 1.3 s for data from c2 (pid 2) at 10.0.0.11:6379 (no_reply)",
        "      waits 1.3 s for data from c3 (pid 3) at 10.0.0.11:6379 (no_reply): stopped "
        "(kill -CONT 3 lets it go on)",
    ]


def test_other_culprits_follow_the_sentence():
    found = lines((1, 2), (3, 5), (7, 5))
    assert found[:3] == [
        "2 processes wait for c5 (pid 5)",
        "  also: c1 (pid 1) waits for c2 (pid 2)",
        "",
    ]


def test_a_process_is_described_once():
    found = lines((1, 2), (3, 2), (2, 5))
    assert found[-1].endswith("c2 (pid 2) at 10.0.0.11:6379 (no_reply): see above")


def test_a_cycle_of_the_tree_is_closed():
    found = lines((1, 2), (2, 1))
    assert found[-1].endswith(
        "c1 (pid 1) at 10.0.0.11:6379 (no_reply): the same as above, a dead-lock"
    )


def test_the_tree_is_bounded():
    found = lines(*((pid, 1) for pid in range(2, 1_009)))
    assert len(found) < 50
    assert "  and 995 processes more; --json has them all" in found


def test_names_and_notes_are_printable():
    evil = {"process": Process(2, 7_001, "\x1b[31mroot\n"), "does": "in \x07"}
    found = lines((1, 2), members={2: evil}, notes=["\x1b]0;x\x07"])
    assert r"\x1b[31mroot\n (pid 2, in \x07)" in found[0]
    assert len(found) == 6


def test_programs_get_all_waits():
    members = {1: {"job": Job("4711", 0)}, 2: {}, 3: STOPPED}
    found = json.loads(to_json(collected((1, 2), (2, 3), members=members, notes=["a note"])))
    (culprit,) = found["culprits"]
    assert found["verdict"] == culprit["text"] == "2 processes wait for c3 (pid 3, stopped)"
    assert (culprit["pid"], culprit["waiters"], culprit["dead_lock"]) == (3, [1, 2], [])
    first, _, last = found["processes"]
    assert (first["job_id"], first["rank"]) == ("4711", 0)
    assert first["waits"] == [
        {
            "peer_pid": 2, "peer_node": 2, "ms": 1_301,
                "direction": "receive", "cause": "no_reply",
            "local": "10.0.0.7:40009", "remote": "10.0.0.11:6379", "certain": True,
        }
    ]  # fmt: skip
    assert (last["state"], last["waits"]) == ("stopped", [])
    assert found["notes"] == ["a note"]


def test_a_dead_lock_for_programs():
    (culprit,) = json.loads(to_json(collected((1, 2), (2, 1))))["culprits"]
    assert (culprit["pid"], culprit["dead_lock"]) == (None, [1, 2])
