"""Why a process may not be inspected, and what helps."""

from __future__ import annotations

import os

import pytest

from xctl_probe.commands.why import access, diagnose
from xctl_probe.commands.why.access import fds_of
from xctl_probe.errors import UsageError


@pytest.mark.parametrize(
    ("held", "expected_text"),
    [
        ("0000000000000000", "this root lacks CAP_SYS_PTRACE"),
        ("0000000000080000", "(AppArmor, SELinux) refuses it"),
    ],
)
def test_root_is_shown_what_refuses_it(monkeypatch, held, expected_text):
    """A capability that is there is not the one that it lacks."""

    def refuse(reader):
        raise PermissionError

    monkeypatch.setattr(access, "socket_fds", refuse)
    monkeypatch.setattr(access, "read", lambda _: f"Name:\tprobe\nCapEff:\t{held}\n".encode())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UsageError) as refused:
        fds_of(os.getpid())
    assert expected_text in str(refused.value)


@pytest.mark.parametrize(
    ("other_calls", "expected_text"), [(True, "a 32-bit program"), (False, "Yama")]
)
def test_yama_is_not_blamed_for_the_calls_of_a_32_bit_program(
    monkeypatch, other_calls, expected_text
):
    monkeypatch.setattr(diagnose, "has_other_calls", lambda _: other_calls)
    assert expected_text in diagnose._about_calls(os.getpid())
