"""Faults: how each is applied to a process or its link, and healed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from evaluation.process import Process
from evaluation.room import Room, descendants

MEANING = {
    "stop": "SIGSTOP of the process and its children",
    "kill": "SIGKILL; its kernel resets the connections",
    "compute": "it computes and does not answer",
    "sleep": "it sleeps and does not answer",
    "deadlock": "its thread waits for a lock that is never free",
    "disk": "its thread is in uninterruptible sleep",
    "drop": "its host loses all packets, or those of its port on one host",
    "shape": "its host sends at 1 Mbit/s",
    "lose": "the server never answers one request",
    "break": "the server stops all transfers in mid-body",
    "checkpoint": "rank 0 writes alone while the others wait for it",
    "absent": "a rank that never comes",
    "none": "nothing",
    "idle": "healthy: all clients pause",
    "slow": "healthy: each reply takes 0.3 s",
    "epoch": "healthy: all ranks pause before the same step",
    "evaluate": "healthy: all ranks compute before the same step",
}
ORDERED_S = 30.0
SHAPED_RATE = "1mbit"
# Orders that a workload obeys (tests/evaluation/workloads/workload.py): it does not answer
# because it computes, sleeps, waits for a lock or is in uninterruptible sleep; it lost one
# request; it breaks off a transfer; its connections idle; its replies are regularly late.
ORDERS = (
    "compute", "sleep", "deadlock", "disk", "lose", "break", "idle", "slow", "epoch",
    "checkpoint", "evaluate",
)  # fmt: skip


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Applied:
    """A fault that is on since `at` (ms since the epoch); `heal` undoes it.

    `self_healing` faults last as long as they were ordered to; `heal` then waits for their end.
    `fatal` ones end the job.
    """

    at: int
    heal: Callable[[], None]
    fatal: bool = False


def apply(name: str, room: Room, target: Process, seconds: float) -> Applied:
    """Apply the fault `name` to `target`; ordered faults end by themselves after `seconds`."""
    if name in ORDERS:
        return _ordered(name, target, seconds)
    return {"stop": _stop, "kill": _kill, "drop": _drop, "shape": _shape, "none": _none}[name](
        room, target
    )


def _none(_room: Room, _target: Process) -> Applied:
    return Applied(now_ms(), lambda: None)


def _stop(_room: Room, target: Process) -> Applied:
    """Stop a process and its children (the backends of a database)."""
    at = now_ms()
    pids = [target.pid, *descendants(target.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def heal() -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return Applied(at, heal)


def _kill(_room: Room, target: Process) -> Applied:
    at = now_ms()
    target.process.kill()
    return Applied(at, lambda: None, fatal=True)


def _ordered(name: str, target: Process, seconds: float) -> Applied:
    since = len(target.events)
    target.order(f"{name} {seconds:.3f}")
    begun = target.wait_for(lambda event: event.get("fault") == name, since, ORDERED_S)

    def heal() -> None:
        target.wait_for(lambda event: event.get("healed") == name, since, seconds + ORDERED_S)

    return Applied(begun["at"], heal)


def _drop(room: Room, target: Process) -> Applied:
    """The host of `target` loses all that comes in and, silently, all that it sends."""
    namespace = room.namespace(target.host)
    at = now_ms()
    if room.layout == "one":
        # On a loopback everything is local: what is dropped is the traffic of the port.
        port = target.port
        namespace.drop_incoming(f"tcp dport {port}")
        namespace.run("nft", f"add rule inet test input tcp sport {port} counter drop")
    else:
        namespace.run(
            "nft",
            "add table netdev test; "
            f"add chain netdev test in {{ type filter hook ingress device {room.device()} "
            "priority 0; }; add rule netdev test in counter drop; "
            f"add chain netdev test out {{ type filter hook egress device {room.device()} "
            "priority 0; }; add rule netdev test out counter drop",
        )

    def heal() -> None:
        family = "inet" if room.layout == "one" else "netdev"
        namespace.run("nft", f"delete table {family} test")

    return Applied(at, heal)


def _shape(room: Room, target: Process) -> Applied:
    namespace, device = room.namespace(target.host), room.device()
    at = now_ms()
    namespace.run(
        "tc", "qdisc", "add", "dev", device, "root", "tbf",
        "rate", SHAPED_RATE, "burst", "4kb", "latency", "2s",
    )  # fmt: skip
    return Applied(at, lambda: namespace.run("tc", "qdisc", "del", "dev", device, "root") and None)
