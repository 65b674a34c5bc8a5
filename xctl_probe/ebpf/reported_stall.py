"""A stall to report, as the rules make it of a raw event."""

from __future__ import annotations

from typing import NamedTuple

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.events import Cause


class ReportedStall(NamedTuple):
    """A stall to report: the record with its length, the cause, and whether it is only likely.

    `by_silence`: as in `ReplyStall`.
    """

    record: RawEvent
    cause: Cause | None
    probable: bool = False
    by_silence: bool = False
