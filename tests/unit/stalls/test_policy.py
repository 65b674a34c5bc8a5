"""Which waits for data are stalls; and that sources, kernel programs and documents agree."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from xctl_probe.fallback import candidates, connection, progress
from xctl_probe.stalls import policy
from xctl_probe.stalls.policy import (
    FLOW_NS,
    DatagramWait,
    expects_datagram,
    expects_reply,
    is_transfer,
)
from xctl_probe.stalls.request_history import RequestHistory

NEW, ANSWERED, ONE_WAY = RequestHistory(), RequestHistory(answered=3), RequestHistory(unanswered=1)
ROOT = Path(__file__).parents[3]
MS = 1_000_000
SECOND = 1_000 * MS


@pytest.mark.parametrize(
    ("connection", "peer", "blocked"),
    list(itertools.product((NEW, ANSWERED, ONE_WAY), (NEW, ANSWERED, ONE_WAY), (False, True))),
)
def test_expects_reply(connection: RequestHistory, peer: RequestHistory, blocked: bool) -> None:
    """Never one-way; else by a thread in a receive, by this connection, or by its peer."""
    expected = connection is not ONE_WAY and (blocked or ANSWERED in (connection, peer))
    assert expects_reply(connection, peer, blocked=blocked) == expected


def datagram(
    span_ns: int = SECOND // 10, port: int = 4_433, *, blocked=False, polling=False, alone=False
) -> DatagramWait:
    return DatagramWait(blocked, polling, alone, port, span_ns)


@pytest.mark.parametrize(
    ("wait", "connection", "peer", "expected"),
    [
        (datagram(), ANSWERED, ANSWERED, False),
        (datagram(polling=True), NEW, NEW, False),
        (datagram(polling=True), ANSWERED, NEW, True),
        (datagram(polling=True), NEW, ANSWERED, True),
        (datagram(polling=True, port=0), NEW, ANSWERED, False),
        (datagram(polling=True, port=53), ONE_WAY, NEW, True),
        (datagram(31 * SECOND, 53, polling=True), ANSWERED, ANSWERED, False),
        (datagram(31 * SECOND, blocked=True), NEW, NEW, True),
        (datagram(blocked=True), ONE_WAY, ANSWERED, False),
        (datagram(blocked=True, port=0), NEW, NEW, False),
        (datagram(SECOND, 0, blocked=True), NEW, NEW, True),
        (datagram(SECOND - 1, 0, polling=True, alone=True), NEW, NEW, False),
        (datagram(SECOND, 0, polling=True, alone=True), NEW, NEW, True),
        (datagram(9 * SECOND, 0, polling=True), NEW, NEW, False),
    ],
)
def test_expects_datagram(
    wait: DatagramWait, connection: RequestHistory, peer: RequestHistory, expected: bool
) -> None:
    assert expects_datagram(wait, connection, peer) is expected


@pytest.mark.parametrize(
    ("lasted_ns", "received_bytes", "expected"),
    [
        (FLOW_NS, 800_000, True),
        (FLOW_NS, 799_999, False),
        (FLOW_NS - 1, 9_000_000, False),
        (FLOW_NS + MS, 800_999, False),
        (FLOW_NS + MS - 1, 800_000, True),
        (3_600 * SECOND, 3_600_000_000, True),
    ],
)
def test_is_transfer(lasted_ns: int, received_bytes: int, expected: bool) -> None:
    assert is_transfer(lasted_ns, received_bytes) is expected


def define(header: str, name: str) -> int:
    """The number that a header of the kernel programs defines, without its unit."""
    (value,) = re.findall(
        rf"^#define {name} \(?(\d+)", (ROOT / "bpf/include" / header).read_text(), re.MULTILINE
    )
    return int(value)


def test_the_kernel_programs_have_the_same_thresholds() -> None:
    assert define("sock_iter.bpf.h", "FLOW_NS") * MS == policy.FLOW_NS
    assert define("sock_iter.bpf.h", "ANSWERS_APART_NS") * MS == policy.ANSWERS_APART_NS
    assert define("stall.bpf.h", "FLOW_BYTES_PER_MS") == policy.FLOW_BYTES_PER_MS
    assert define("existing_sockets.bpf.h", "DELAYED_ACK_NS") == policy.DELAYED_ACK_MS * MS


def test_the_documents_have_the_same_thresholds() -> None:
    text = " ".join((ROOT / "docs/stalls.md").read_text().split())
    assert f"`--stall-ms` ({policy.STALL_MS})" in text
    rate = policy.FLOW_BYTES_PER_MS // 1_000
    assert f"at least {policy.FLOW_NS // MS} ms at {rate} MB/s" in text
    assert f"is connected to port {policy.DNS_PORT} |" in text
    assert f"undecided for {policy.ANSWERS_APART_NS // SECOND} s after" in text
    assert f"given up after {policy.LONGEST_DATAGRAM_POLL_NS // SECOND} s" in text
    assert policy.UNANSWERED_DATAGRAM_NS == SECOND
    assert "as resolvers do | after `--reply-ms`, at least a second |" in text
    assert f"`--reply-ms` ({policy.REPLY_MS})" in text


def test_the_sampler_has_no_thresholds_of_its_own() -> None:
    """Active and idle connections count a sustained transfer by the one rule."""
    assert connection.is_transfer is policy.is_transfer
    assert candidates.FLOW_NS is policy.FLOW_NS
    assert candidates.FLOW_BYTES_PER_MS is policy.FLOW_BYTES_PER_MS
    assert progress.DELAYED_ACK_MS is policy.DELAYED_ACK_MS
