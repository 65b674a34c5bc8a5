"""Which processes `profile` refuses, and when it searches for others."""

from __future__ import annotations

import os
import threading

import pytest

from xctl_probe.commands.profile import command
from xctl_probe.commands.profile.command import _next_search, run
from xctl_probe.errors import UsageError


def profile(pid):
    run(pid, 1, seconds=0.01, children=False, as_json=True, report=print)


def test_a_thread_is_refused_with_the_process_that_it_is_of():
    """Its calls are counted by the process, so that none would be found."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(UsageError) as refusal:
            profile(thread.native_id)
    finally:
        done.set()
        thread.join()
    assert str(refusal.value) == (
        f"profile {thread.native_id}: a thread, not a process; its process is {os.getpid()}"
    )


def test_a_32_bit_program_is_refused(monkeypatch):
    monkeypatch.setattr(command, "has_other_calls", lambda _: True)
    with pytest.raises(UsageError, match="a program of 32 bits"):
        profile(os.getpid())


def test_a_long_search_is_made_less_often(monkeypatch):
    now_ns = 10_000_000_000
    monkeypatch.setattr("time.monotonic_ns", lambda: now_ns)
    assert _next_search(now_ns - 1_000_000) == now_ns + 500_000_000
    assert _next_search(now_ns - 100_000_000) == now_ns + 2_000_000_000
