"""Sentences and lines about RDMA: what it shows, and what the kernel does not distinguish."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from unit.commands.blame.test_graph import member, wait
from unit.commands.blame.test_report import STOPPED

from xctl_probe.commands.blame.collect import Collected
from xctl_probe.commands.blame.graph import Graph
from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.blame.rdma import RdmaUse
from xctl_probe.commands.blame.report import headline, to_json, to_text
from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs
from xctl_probe.events import Process

STILL = DeviceQueuePairs("mlx5_0", still=8)
MOVING = DeviceQueuePairs("mlx5_0", moving=3)
FAILED = DeviceQueuePairs("mlx5_1", failed=2, still=1)
ALIKE = "idle or stalled, which the kernel does not distinguish"


def used(*devices, errors=None, **more):
    return {"rdma": RdmaUse(devices, errors or {}), **more}


def collected(members, *waits, ports=None):
    found = {pid: replace(member(pid), **changes) for pid, changes in members.items()}
    return Collected(Graph(found, waits), "sampler", (), {}, ports or {})


def lines(*args, **options):
    return to_text(collected(*args, **options)).decode("ascii").splitlines()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (used(STILL), f"the RDMA queue pairs of c1 (pid 1) are {ALIKE}"),
        (used(FAILED), "2 RDMA queue pairs of c1 (pid 1) have failed"),
        (used(DeviceQueuePairs("a", failed=1)), "1 RDMA queue pair of c1 (pid 1) has failed"),
        (
            used(STILL, **STOPPED),
            "c1 (pid 1) is stopped (kill -CONT 1 lets it go on) and has 8 RDMA queue pairs",
        ),
        (
            used(STILL, errors={"RDMA_OUT_OF_BUFFER": 23, "CNP": 3}),
            "c1 (pid 1) posts no RDMA receive in time (RDMA_OUT_OF_BUFFER 23)",
        ),
        (
            used(STILL, errors={"RDMA_RNR": 23}),
            "c1 (pid 1) sends to an RDMA peer that posts no receive in time (RDMA_RNR 23)",
        ),
        (
            used(STILL, errors={"RDMA_RETRY": 7, "RDMA_TIMEOUT": 5}),
            "c1 (pid 1) misses RDMA packets or acknowledgements (RDMA_TIMEOUT 5, RDMA_RETRY 7)",
        ),
    ],
)
def test_without_a_wait_on_sockets_rdma_is_the_answer(changes, expected):
    found = collected({1: changes})
    assert headline(found) == f"no process waits on a socket for long; {expected}"
    assert headline(found, "process 1") == (
        f"process 1 waits for no other process on a socket; {expected}"
    )


def test_queue_pairs_that_move_change_no_answer():
    assert headline(collected({1: used(MOVING)})) == "no process waits on the network for long"


def test_processes_that_are_alike_share_a_sentence_and_have_a_line_each():
    """The strongest sign comes first, and what moves last."""
    members = {
        1: used(MOVING),
        2: used(STILL, does="running on a CPU"),
        3: used(STILL, DeviceQueuePairs("mlx5_1", still=1)),
        5: used(FAILED, errors={"RDMA_RETRY_EXCEEDED": 2}, job=Job("4711", 3)),
    }
    assert lines(members, ports={"eth0": {"PFC_PAUSE": 36, "PAUSE": 1}}) == [
        "no process waits on a socket for long;"
        " 2 RDMA queue pairs of c5 (rank 3, pid 5) have failed",
        f"  also: the RDMA queue pairs of 2 processes are {ALIKE}",
        "",
        "  c5 (rank 3, pid 5): 3 RDMA queue pairs on mlx5_1 (2 failed, 1 idle or stalled);"
        " RDMA_RETRY_EXCEEDED 2",
        "  c2 (pid 2), running on a CPU: 8 RDMA queue pairs on mlx5_0 (8 idle or stalled)",
        "  c3 (pid 3): 8 RDMA queue pairs on mlx5_0 (8 idle or stalled);"
        " 1 RDMA queue pair on mlx5_1 (1 idle or stalled)",
        "  c1 (pid 1): 3 RDMA queue pairs on mlx5_0 (3 moving packets)",
        "  eth0: PFC_PAUSE 36, PAUSE 1, of which the process is not known",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (used(STILL, does="sleeping"), "sleeping; its RDMA queue pairs are idle or stalled"),
        (used(FAILED), "2 RDMA queue pairs failed"),
        (used(STILL, errors={"RDMA_RNR": 3}), "RDMA_RNR 3"),
        (used(STILL, **STOPPED), "stopped"),
        (used(MOVING, does="sleeping"), "sleeping"),
    ],
)
def test_who_is_waited_for_on_sockets_is_named_with_its_queue_pairs(changes, expected):
    found = collected({1: {}, 2: changes}, wait(1, 2))
    assert headline(found) == f"c1 (pid 1) waits for c2 (pid 2, {expected})"


def test_lines_are_bounded_and_printable():
    evil = {"process": Process(1, 7_001, "\x1b[31mroot\n")}
    found = lines({1: used(FAILED, **evil)} | {pid: used(FAILED) for pid in range(2, 1_009)})
    assert len(found) < 30
    assert r"\x1b[31mroot\n (pid 1)" in found[0]
    assert "  also: 1002 more; --json has them all" in found
    assert "  and 996 processes more with RDMA queue pairs; --json has them all" in found


def test_programs_get_all_of_it():
    members = {1: used(FAILED, errors={"RDMA_RETRY": 7}), 2: {}}
    found = json.loads(to_json(collected(members, ports={"mlx5_0": {"CNP": 11}})))
    assert found["rdma"] == ["2 RDMA queue pairs of c1 (pid 1) have failed"]
    assert found["rdma_ports"] == {"mlx5_0": {"CNP": 11}}
    first, second = found["processes"]
    assert first["queue_pairs"] == [
        {"device": "mlx5_1", "moving": 0, "still": 1, "failed": 2, "others": 0}
    ]
    assert first["rdma_errors"] == {"RDMA_RETRY": 7}
    assert (second["queue_pairs"], second["rdma_errors"]) == ([], {})
