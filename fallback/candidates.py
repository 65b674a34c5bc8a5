"""Which connections the stall detector has to decide about: few of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctl_probe.fallback.message_arrays import Bools, Records
from xctl_probe.fallback.row import MS, UNSET, Times, Values
from xctl_probe.fallback.sock_diag import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LISTEN,
    SYN_SENT,
    TIMER_KEEPALIVE,
)
from xctl_probe.stalls.policy import FLOW_BYTES_PER_MS, FLOW_NS


def note_active(rows: Records, now: Values) -> None:
    """Note where a stall can arise without new activity.

    A server that has replied waits for work.  Thousands of these have to be cheap.
    """
    waits = (rows["pending_ns"] != UNSET) | rows["unsolicited"] | _transfers(rows)
    waits |= unanswered_keepalives(now) > 0
    waits &= rows["opened"]
    waits |= (rows["full_ns"] != UNSET) | (rows["hole_ns"] != UNSET) | (now("wqueue") > 0)
    state = now("state")
    # The queues of a listener are its backlog.
    rows["active"] = (waits | (state != ESTABLISHED)) & (state != LISTEN)


def may_wait(rows: Records, sample: Records, times: Times) -> Bools:
    """Return which rows the stall detector has to decide about.

    Mirrors the order of its rules: of every other row they find no wait.
    """
    now_ns, stall_ns = times.now_ns, times.stall_ns
    state, wqueue = rows["state"], rows["wqueue"] > 0
    full_ns = np.where(rows["full_ns"] == UNSET, rows["wrote_ns"], rows["full_ns"])
    sends = (state < FIN_WAIT1) | (state == CLOSE_WAIT)
    keeps = (rows["full_ns"] != UNSET) | (sample["notsent_bytes"] > 0)
    sending = wqueue & (now_ns - full_ns >= stall_ns) & (keeps | ~sends)
    receives = (state == ESTABLISHED) | (state == FIN_WAIT1) | (state == FIN_WAIT2)
    receiving = rows["opened"] & receives & (sample["rqueue"] == 0)
    receiving &= (
        _exceeds(rows, "hole_ns", times)
        | _exceeds(rows, "pending_ns", times)
        | _exceeds(rows, "keepalive_ns", times)
        | (_transfers(rows) & (now_ns - rows["received_ns"] >= stall_ns))
    )
    held: Bools = rows["queues"][:, 1] >> 32 != 0  # the inode: a process has it open
    held &= (state == SYN_SENT) | sending | receiving
    return held


def _exceeds(rows: Records, since: str, times: Times) -> Bools:
    found: Bools = (rows[since] != UNSET) & (rows[since] <= times.now_ns - times.stall_ns)
    return found


def unanswered_keepalives(now: Values) -> NDArray[Any]:
    """Return the probes of idle connections since the peer's host was last heard, tcp(7)."""
    keeps_alive = now.raw("timer") == TIMER_KEEPALIVE
    probes: NDArray[Any] = now.raw("retries") * (keeps_alive & (now.raw("wqueue") == 0))
    return probes


def _transfers(rows: Records) -> Bools:
    """Return where a sustained transfer to this side has begun and is not over.

    As `policy.is_transfer` decides about one.
    """
    lasted_ns = rows["received_ns"] - rows["flow_begin_ns"]
    came = rows["received_payload"] - rows["flow_bytes"]
    transfers: Bools = (
        (rows["flow_begin_ns"] != 0)
        & (lasted_ns >= FLOW_NS)
        & (came // FLOW_BYTES_PER_MS >= lasted_ns // MS)
    )
    return transfers
