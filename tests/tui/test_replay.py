"""A recording on the screen: it plays, pauses, goes on by a step, and stays on the last frame."""

from __future__ import annotations

from dataclasses import replace

from support.recording import record_all
from support.records import STALL

from xctl_probe.events import Process
from xctl_probe.exporters.records import StallRecord

BEGUN_MS = 1_700_000_000_000
CLIENT = Process(233, 0, "client")


def interval(number):
    """One with a stall that is as many seconds long as its number."""
    stall = replace(STALL, owner=CLIENT, duration_ns=number * 1_000_000_000, ongoing=True)
    return [StallRecord(BEGUN_MS + number * 1_000, stall)]


def replay(terminal, folder, *options):
    words = (*options, "top", "--replay", folder)
    return terminal(*words, user="root", width=120, TZ="UTC")


def test_a_recording_is_stepped_through(terminal, tmp_path):
    """An hour an interval, so that only keys go on; the last one stays, and is named."""
    folder = record_all(tmp_path / "ring", [interval(n) for n in (1, 2, 3)])
    screen = replay(terminal, folder, "--interval", 3600)
    screen.wait_for("2023-11-14 22:13:21", "WAITING 1", "233 client", "1.0 s", "recording")
    screen.type(".")
    screen.wait_for("2023-11-14 22:13:22", "2.0 s", "PAUSED")
    screen.type(".", ".", ".")
    screen.wait_for("2023-11-14 22:13:23 (last)", "3.0 s")
    screen.type("Down", "Enter")
    screen.wait_for("why 233 --since 1h")
    screen.type("Escape", "?")
    screen.wait_for("of a recording: pause, one interval on")
    screen.type("Escape", "q")
    screen.wait_for("left with 0")


def test_a_recording_plays_by_itself(terminal, tmp_path):
    """At the pace of --interval, until a signal."""
    folder = record_all(tmp_path / "ring", [interval(n) for n in range(1, 6)])
    screen = replay(terminal, folder, "--interval", 0.05)
    screen.wait_for("2023-11-14 22:13:25 (last)", "5.0 s")
    screen.type("C-c")
    screen.wait_for("left with 0")
