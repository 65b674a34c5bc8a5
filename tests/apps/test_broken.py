"""Real programs whose network is broken: who waits, on whom and why, while it lasts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from servers.openssh import REALPATH

INTERVAL_S = 0.25
STALL_MS = 100
INTERVALS = 2  # between the moment from which a wait counts and the one that reports it
INSPECTED_WITHIN = 15  # where a helper reads a process first: a busy host may keep it waiting
LATE_MS = 150  # what the machine's other work may delay a sample by
# So long may the machine's other work hold up a program that is not broken: two programs may each
# have no processor for a second and more.
MOMENT_MS = 3_000
MUCH = 30_000_001  # bytes: more than all buffers on the way


@dataclass(frozen=True)
class Case:
    """A program, which client of it asks, how, and what its answer has in it."""

    program: str
    line: str | bytes
    answer: str
    client: str = "asks"

    @property
    def first(self) -> str | bytes:
        """The same question, and small."""
        return "7" if self.line == str(MUCH) else self.line

    @property
    def first_answer(self) -> str:
        return self.answer.replace(str(MUCH), "7")


ASKING = [
    Case("nginx", "0", "answered 200"),
    Case("redis", "PING", "PONG"),
    Case("postgres", "select 'seven';", "seven"),
    Case("websocket", "7", "echoed 7"),
    Case("openssh", REALPATH, "/"),
    Case("waits", "0", "answered 200"),
]
SENDING = [
    Case("nginx", str(MUCH), "answered 200", "uploads"),
    Case("redis", str(MUCH), "OK", "sets"),
    Case("websocket", str(MUCH), f"echoed {MUCH}"),
]


def by_program(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.program)


class Broken:
    """One break, from the question on: what is reported meanwhile, and afterwards."""

    def __init__(self, everything, case, probe, backend):
        self.place, self.probe, self.backend = everything.place, probe, backend
        self.program = getattr(everything, case.program)
        self.client, self.case = getattr(self.program, case.client), case
        self.asked_ms = 0.0
        # One exchange that the probe sees: without, a client in poll may expect no answer.
        self.client.ask(case.first, case.first_answer)
        probe.wait_for_intervals(1)

    def ask(self):
        self.asked_ms = time.time() * 1000
        self.client.send(self.case.line)

    def reported_in_time(self, cause):
        """The right process, socket and cause within three of the probe's own intervals.

        Within more of them where it depends on what a helper reads: of the server that does not
        reply, and to the sampler also of the client in its receive.  Counted, not timed: beside
        other work both the question and the intervals are late.
        """
        inspects = cause == "no_reply" or (cause == "loss" and self.backend.per_interval)
        most = INSPECTED_WITHIN if inspects else INTERVALS
        found = self.probe.wait_for(lambda c: self._first(c, cause))
        began_ms = found.ts - found.stall_ms + STALL_MS
        beats = {r.ts for r in self.probe.consumer.interface_bandwidth()}
        assert sum(began_ms < beat < found.ts for beat in beats) <= most, self.story()
        assert found.net["remote"] == f"127.0.0.1:{self.program.port}"
        assert found.ongoing

    def is_over(self, healed_ms, direction, causes):
        """It is over once the network is healed; no other program was reported but for a moment."""
        self.client.expect(self.case.answer)
        answered_ms = time.time() * 1000
        self.probe.wait_for(lambda c: c.stalls(pid=self.client.pid, ongoing=False))
        self._calm()
        reported = self._ours()
        programs = {
            (self.place.name(r.pid).partition(":")[0], r.entity_id)
            for r in reported
            if r.pid == self.client.pid or r.stall_ms >= MOMENT_MS
        }
        servers = {program for program, _ in programs}
        assert servers == {self.case.program}, (programs, self.story())  # other clients wait, too
        reported = [r for r in reported if r.pid == self.client.pid]
        *ongoing, last = reported = _longest_wait(reported)
        assert ongoing, self.story()
        assert {r.net["direction"] for r in reported} == {direction}
        if self.probe.consumer.count("RETRANSMIT", pid=self.client.pid):
            causes = causes | {"loss"}  # a busy host acknowledges late enough for a retransmit
        assert {r.net["cause"] for r in reported} <= causes, self.story()
        slack_ms = self._interval_ms(last.ts) + LATE_MS
        began_ms = min(r.ts - r.stall_ms for r in ongoing)  # or sooner
        assert healed_ms - began_ms - slack_ms <= last.stall_ms, self.story()
        assert last.stall_ms <= answered_ms - self.asked_ms + slack_ms, self.story()

    def _interval_ms(self, ts):
        """How long the interval was whose records have this time: longer where it was late."""
        of_it = (r for r in self.probe.consumer.interface_bandwidth() if r.ts == ts)
        return max([INTERVAL_S * 1000, *(r.net["interval_ms"] for r in of_it)])

    def _calm(self):
        """Wait until the server's other clients have their answers as well."""
        while True:
            before = self._count()
            self.probe.wait_for_intervals(2)
            if self._count() == before:
                return

    def _count(self):
        return len(self._ours())

    def _ours(self):
        """What is reported of this place: another place has other ports."""
        pids, port = self.place.pids(), f":{self.program.port}"
        return [
            r
            for r in self.probe.consumer.stalls()
            if r.pid in pids
            or (r.pid is None and port in (r.net["remote"][-6:], r.net["local"][-6:]))
        ]

    def _first(self, consumer, cause):
        for record in consumer.stalls(pid=self.client.pid, ongoing=True):
            if record.net["cause"] == cause:
                return record
        return None

    def story(self):
        return self.probe.story(f"asked at {self.asked_ms}, {self.client.name}")


@pytest.fixture
def broken(everything, watched, one):
    return lambda case: Broken(everything, case, watched(one, "--interval", INTERVAL_S), one)


@by_program(ASKING)
def test_packets_that_are_dropped(broken, case):
    """By a firewall, silently: the request is sent again and again."""
    scene = broken(case)
    scene.place.namespace.drop_incoming(f"tcp dport {scene.program.port}")
    try:
        scene.ask()
        scene.reported_in_time("loss")
    finally:
        scene.place.namespace.lose_nothing()
    healed_ms = time.time() * 1000
    # At first it is not known whether the request is lost, or slow.
    scene.is_over(healed_ms, "receive", {"loss", None})


@by_program(ASKING)
def test_a_server_that_is_stopped(broken, case):
    """The network has delivered; no process takes the request."""
    scene = broken(case)
    workers = scene.program.workers()
    scene.place.stop(*workers)
    try:
        scene.ask()
        scene.reported_in_time("no_reply")
    finally:
        scene.place.let_go(*workers)
    scene.is_over(time.time() * 1000, "receive", {"no_reply"})


def _longest_wait(reported):
    """The records of the longest that was reported while it lasted.

    On a busy host a send is held up for a moment before, and a window opens once more for a moment,
    so late that the wait for it is two.
    """
    waits = [[]]
    for record in reported:
        waits[-1].append(record)
        if not record.ongoing:
            waits.append([])
    assert not waits.pop(), [str(r) for r in reported]
    seen = [records for records in waits if records[0].ongoing]
    return max(seen or waits, key=lambda records: records[-1].stall_ms)


@by_program(SENDING)
def test_a_window_that_is_full(broken, case):
    """The peer is stopped, and this one has much to send."""
    scene = broken(case)
    workers = scene.program.workers()
    scene.place.stop(*workers)
    try:
        scene.ask()
        scene.reported_in_time("peer_window")
    finally:
        scene.place.let_go(*workers)
    scene.is_over(time.time() * 1000, "send", {"peer_window", "send_buffer"})
