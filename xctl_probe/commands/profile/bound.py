"""What a process is bound by, from samples of its threads and what it used."""

from __future__ import annotations

from dataclasses import dataclass

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.commands.profile.threads import ThreadSamples

# Part of the time that one activity has to take, so that it is the answer alone.
_MOST = 0.6
# Part of the time in calls that map and unmap memory that makes CPU time the time of memory.
_MEMORY_CALLS = 0.5
_MUCH_QUEUED = 0.1  # worth a remark
_WORDS = {
    Activity.CPU: "a thread ran, or was ready to",
    Activity.MEMORY: "a thread waited for memory",
    Activity.IO: "no thread ran, and one waited for a file",
    Activity.NETWORK: "no thread ran, and one waited for the network",
    Activity.STOPPED: "it was",
    Activity.UNKNOWN: "no thread ran, and what one waited for is not readable",
    Activity.SLEEP: "all threads slept",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """`by`: network, io, cpu, memory or mixed; stopped, unknown; idle where it sleeps by itself."""

    by: str
    reason: str


def bound_by(
    samples: ThreadSamples, ran_share: float, memory_calls_share: float, queued_share: float
) -> Bound:
    """Return what a process is bound by.

    As parts of the time: `ran_share` is that of the threads on a CPU or in a queue for one,
    `memory_calls_share` that in calls for memory, `queued_share` that in a queue alone.
    """
    if not samples.moments:
        return Bound("idle", "it has exited before it was sampled")
    found = shares(samples, ran_share)
    ranked = sorted(Activity, key=found.__getitem__, reverse=True)
    first, second = ranked[0], ranked[1]
    if found[first] < _MOST:
        parts = f"{_part(samples, found, first)}; {_part(samples, found, second)}"
        return Bound("mixed", f"{parts}{_queued(queued_share)}")
    if first is Activity.SLEEP:
        return Bound("idle", _part(samples, found, first))
    if first is Activity.CPU and memory_calls_share >= _MEMORY_CALLS:
        return Bound(
            "memory",
            f"{_percent(memory_calls_share)} of the time was in calls that map and unmap memory",
        )
    return Bound(first.value, f"{_part(samples, found, first)}{_queued(queued_share)}")


def shares(samples: ThreadSamples, ran_share: float) -> dict[Activity, float]:
    """Return the part of the time that each activity took.

    A sample takes the CPU away from whom it finds on it, so that it finds too many there: they
    cannot be more than what the kernel has counted.  It may also miss those that run, of many:
    they cannot be less than what was counted for as many as ran at once.
    """
    sampled = {activity: samples.share(activity) for activity in Activity}
    cpu = min(sampled[Activity.CPU], ran_share)
    cpu = max(cpu, min(1.0, ran_share / samples.at_once))
    rest = 1 - sampled[Activity.CPU]
    if rest <= 0:
        return dict.fromkeys(Activity, 0.0) | {
            Activity.CPU: cpu, Activity.SLEEP: 1 - cpu
        }  # fmt: skip
    return {
        activity: cpu if activity is Activity.CPU else share * (1 - cpu) / rest
        for activity, share in sampled.items()
    }


def _part(samples: ThreadSamples, found: dict[Activity, float], activity: Activity) -> str:
    calls = [(n, call) for (of, call), n in samples.waits.items() if of is activity]
    most = f", mostly in {max(calls)[1]}" if calls else ""
    if activity is Activity.STOPPED:
        most = f" {max(calls)[1] if calls else 'stopped'}"
    return f"{_percent(found[activity])} of the time {_WORDS[activity]}{most}"


def _queued(share: float) -> str:
    if share < _MUCH_QUEUED:
        return ""
    if share > 1:
        return f"; {share:.1f} threads on average in a queue for a CPU"
    return f"; {_percent(share)} of a thread's time in a queue for a CPU"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
