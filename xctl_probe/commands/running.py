"""The stalls that a probe reports which already runs here.

It knows what each connection did before: which of two equals waits for the other, and what is
usual.  Samples of this moment do not show that.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.records import StallRecord
from xctl_probe.linux.procfs import read_process
from xctl_probe.recordings.parse import to_record
from xctl_probe.status.client import Reply, ask, find
from xctl_probe.status.directory import known_directories

_WAIT_S = 1.0
_LONGEST_INTERVAL_MS = 5_000  # an older record is no answer about this moment


def running_stalls(directory: Path | None) -> list[StallRecord]:
    """Return the ongoing stalls of all probes of this user, and of root; empty where none runs.

    `directory` is that of --status-dir.  A probe of another user may answer anything, so it is not
    asked.  Those of processes that are gone are left out; some are only probable.
    """
    places = [directory] if directory else known_directories(os.environ, os.geteuid())
    trusted = [one for one in find(places) if one.uid in (0, os.geteuid())]
    return [stall for reply in ask(trusted, "stalls", _WAIT_S) for stall in stalls_of(reply)]


def stalls_of(reply: Reply) -> list[StallRecord]:
    """Return the stalls of one reply; empty for one that is none, or of another pid namespace."""
    document = reply.document
    if not isinstance(document, dict) or document.get("pid") != reply.pid:
        return []
    interval_ms, lines = document.get("interval_ms"), document.get("stalls")
    if not isinstance(interval_ms, int) or interval_ms > _LONGEST_INTERVAL_MS:
        return []
    if not isinstance(lines, list):
        return []
    records = (to_record(ascii_json(line)) for line in lines if isinstance(line, dict))
    found = (_now(record) for record in records if isinstance(record, StallRecord))
    return [record for record in found if record is not None]


def _now(record: StallRecord) -> StallRecord | None:
    """Return the record with its processes as they are now; None where the one that waits is gone.

    Records have no start times, without which nothing is advised about a process.
    """
    stall = record.stall
    owner = stall.owner and read_process(stall.owner.pid)
    if stall.owner is not None and owner is None:
        return None
    peer = stall.peer and read_process(stall.peer.pid)
    return replace(record, stall=replace(stall, owner=owner, peer=peer))
