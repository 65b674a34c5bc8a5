"""What the samples leave out is noted."""

from __future__ import annotations

import pytest

from xctl_probe.commands.blame import samples as module
from xctl_probe.commands.blame.samples import barred_others
from xctl_probe.config.choices import Backend
from xctl_probe.sources.privileges import WHY

ALL = frozenset(WHY.needs)
NOTE = "what other users' processes wait for is not visible: "


@pytest.mark.parametrize(
    ("user", "having", "remedy"),
    [
        (1_000, frozenset(), "run as root (sudo xctl-probe-network blame)"),
        (
            0,
            ALL - {"CAP_SYS_PTRACE"},
            "this root lacks CAP_SYS_PTRACE, as in a container: run it on the host",
        ),
    ],
)
def test_other_users_processes_that_may_not_be_read_are_noted(monkeypatch, user, having, remedy):
    """Whether one of them waits or not: that is not visible either."""
    monkeypatch.setattr(module.os, "geteuid", lambda: user)
    assert barred_others(Backend.SAMPLER, having) == [NOTE + remedy]


@pytest.mark.parametrize(
    ("backend", "having"), [(Backend.SAMPLER, ALL), (Backend.EBPF, frozenset())]
)
def test_where_all_are_seen_there_is_no_note(backend, having):
    assert barred_others(backend, having) == []
