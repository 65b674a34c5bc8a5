"""Giving up capabilities, in processes of their own; the tests read /proc/PID/status."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.require import require, require_tools

from xctl_probe.linux.capability_sets import BITS, names

SHOW = """
from xctl_probe.linux import capability_sets as sets
{work}
for line in open("/proc/thread-self/status"):
    name, _, value = line.partition(":")
    if name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"):
        print(int(value, 16))
"""
PTRACE, READ_SEARCH, DAC_OVERRIDE, ADMIN, BPF = 1 << 19, 1 << 2, 1 << 1, 1 << 21, 1 << 39


def after(work, *prefix):
    words = [*prefix, sys.executable, "-c", SHOW.format(work=work)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.fixture
def root():
    require(os.geteuid() == 0, "run the tests as root")
    require_tools("setpriv")


@pytest.mark.usefixtures("root")
def test_only_what_is_wanted_is_left_in_any_set():
    caps = "--inh-caps=+sys_ptrace,+net_admin", "--ambient-caps=+sys_ptrace,+net_admin"
    work = "sets.forbid_new(); sets.keep_only(['CAP_SYS_PTRACE', 'CAP_BPF'])"
    assert after(work, "setpriv", *caps) == [0, PTRACE | BPF, PTRACE | BPF, 0, 0, 1]


@pytest.mark.usefixtures("root")
def test_what_is_not_held_is_not_gained():
    work = "sets.forbid_new(); sets.keep_only(['CAP_SYS_PTRACE', 'CAP_BPF'])"
    held = "--bounding-set=-all,+sys_ptrace,+sys_time"
    _, permitted, effective, bounding, _, _ = after(work, "setpriv", held)
    assert (permitted, effective) == (PTRACE, PTRACE)
    assert bounding == PTRACE | 1 << 25  # to change it takes CAP_SETPCAP


@pytest.mark.usefixtures("root")
def test_what_includes_a_wanted_one_is_kept_in_its_place():
    """CAP_SYS_ADMIN has those that were split off it."""
    held = "--bounding-set=-all,+sys_admin,+dac_override"
    work = "sets.keep_only(['CAP_BPF', 'CAP_DAC_READ_SEARCH'])"
    assert after(work, "setpriv", held)[1] == ADMIN | DAC_OVERRIDE
    assert after("sets.keep_only(['CAP_BPF', 'CAP_DAC_READ_SEARCH'])")[1] == BPF | READ_SEARCH


@pytest.mark.usefixtures("root")
def test_effective_ones_may_come_back_and_permitted_ones_may_not():
    work = "sets.set_effective([]); sets.set_effective(['CAP_BPF'])"
    _, permitted, effective, *_ = after(work)
    assert effective == BPF
    assert permitted & (BPF | PTRACE) == BPF | PTRACE
    work = "sets.keep_only(['CAP_BPF', 'CAP_SYS_PTRACE']); sets.give_up('CAP_BPF')"
    assert after(work)[1:3] == [PTRACE, PTRACE]


def test_who_has_none_may_give_up_all():
    prefix = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    work = "sets.forbid_new(); sets.keep_only(['CAP_BPF'])"
    inheritable, permitted, effective, _, ambient, forbidden = after(work, *prefix)
    assert (inheritable, permitted, effective, ambient, forbidden) == (0, 0, 0, 0, 1)


def test_names_are_those_of_the_bits_and_what_they_include():
    assert names(0) == set()
    assert names(ADMIN) == {"CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"}
    assert names((1 << 64) - 1) == set(BITS)
