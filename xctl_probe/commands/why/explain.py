"""All that is known about one process now: its samples, what a probe reports, and its equals."""

from __future__ import annotations

import time
from collections.abc import Iterable

from xctl_probe.commands.why.diagnose import Diagnosis, diagnose
from xctl_probe.commands.why.equals.finding import with_equals
from xctl_probe.commands.why.equals.sample import sample_equals
from xctl_probe.commands.why.reported import with_reported
from xctl_probe.exporters.records import StallRecord
from xctl_probe.stalls.policy import STALL_MS

_NS_PER_MS = 1_000_000


def explain(
    pid: int,
    reported: Iterable[StallRecord] = (),
    *,
    sock_diag: bool = True,
    stall_ms: int = STALL_MS,
) -> Diagnosis:
    """Explain a process; `reported` are ongoing stalls, of records made before the call.

    What moves after a record shows that its stall is over.  Raises as `diagnose`.
    """
    diagnosis = diagnose(pid, sock_diag=sock_diag, stall_ms=stall_ms)
    diagnosis = with_reported(diagnosis, reported, time.time_ns() // _NS_PER_MS)
    return with_equals(diagnosis, sample_equals if sock_diag else tuple)
