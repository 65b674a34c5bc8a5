"""What a process does that others wait for, in words that complete *it is*."""

from __future__ import annotations

from dataclasses import replace

from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.report import NOTHING, UNSEEN, headline
from xctl_probe.commands.why.thread_activity import Kind, thread_activity
from xctl_probe.events import PeerActivity

HELD = {PeerActivity.STOPPED: "stopped", PeerActivity.FROZEN: "frozen with its cgroup"}
_EVENTS, _FIRST = "waiting for events", "its first thread is "


def activity_of(
    found: Diagnosis, activity: PeerActivity | None, *, with_unseen: bool = True
) -> str:
    """Return what the process does; `activity` is what its threads were seen to do.

    Without `with_unseen`, that something could not be seen is left out: RDMA never can be.
    """
    if activity in HELD:
        return HELD[activity]
    # Queue pairs are reported apart, from samples of the same moment for all processes.
    text = headline(replace(found, queue_pairs=())).removeprefix(f"{NOTHING}: ")
    by_socket = bool(found.found) and not found.found[0].waits
    if by_socket and (what := _of_thread(found)):
        return what
    if not with_unseen:
        text = text.removeprefix(f"{UNSEEN}: ")
    return text.removeprefix("it is ").removeprefix("it ")


def unseen_of(found: Diagnosis) -> str | None:
    """Return why it could not be seen whether the process waits, None where it could."""
    text = headline(replace(found, queue_pairs=()))
    return text.removeprefix(f"{UNSEEN}: ") if text.startswith(UNSEEN) else None


def _of_thread(found: Diagnosis) -> str | None:
    """Return what a thread that runs, or the first one, does instead of a wait for the network.

    Others of its threads may wait for ever for what never comes.
    """
    chosen = max(found.threads, key=lambda one: (one.running, one.first), default=None)
    if chosen is None or not (chosen.running or chosen.first):
        return None
    activity = thread_activity(found, chosen)
    if activity.kind is not Kind.ELSE or activity.text.startswith(_EVENTS):
        return None
    whose = "" if len(found.threads) == 1 else "a thread is " if chosen.running else _FIRST
    return whose + activity.text
