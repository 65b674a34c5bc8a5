"""Which capabilities are held, and what their lack is worth to a user."""

from __future__ import annotations

import pytest

from xctl_probe.linux import capabilities
from xctl_probe.sources import privileges
from xctl_probe.sources.privileges import ELSEWHERE, FEATURES, INSPECTION, KERNEL, held, shortcoming

ALL = frozenset(privileges._BITS)
BOTH = 1 << 39 | 1 << 38


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A /proc with this status, in the first user namespace or in another."""

    def make(status, first=True):
        (tmp_path / "self/ns").mkdir(parents=True)
        (tmp_path / "self/ns/user").touch()
        inode = (tmp_path / "self/ns/user").stat().st_ino
        monkeypatch.setattr(capabilities, "_FIRST_USER_NAMESPACE", inode if first else inode + 1)
        (tmp_path / "self/status").write_bytes(status)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0, set()),
        (BOTH, {"CAP_BPF", "CAP_PERFMON"}),
        (1 << 21, {"CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"}),
        (1 << 19 | 1 << 2, {"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}),
        (1 << 1, {"CAP_DAC_READ_SEARCH"}),  # by CAP_DAC_OVERRIDE
        ((1 << 41) - 1, ALL),
    ],
)
def test_capabilities_are_those_in_effect(proc, bits, names):
    status = b"Name:\tCapEff:\xff\nCapPrm:\tffff\nCapEff:\t%016x\n" % bits
    assert held(proc(status)) == names


def test_those_of_a_user_namespace_are_worth_nothing(proc):
    assert held(proc(b"CapEff:\tffffffffffffffff\n", first=False)) == frozenset()


@pytest.mark.parametrize("status", [b"", b"CapEff:\n", b"CapEff:\tzz\n", b"\xff\n"])
def test_a_status_that_reports_nothing_is_none(proc, status):
    assert held(proc(status)) == frozenset()


def test_no_proc_is_none(tmp_path):
    assert held(tmp_path) == frozenset()


def test_what_the_stream_leaves_out_is_shown_with_what_it_needs():
    """One line at start; none where nothing is left out."""
    assert shortcoming(ALL) is None
    printed = shortcoming(frozenset(KERNEL.needs))
    assert printed.startswith("other users' processes are not inspected")
    assert printed.endswith("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
    printed = shortcoming(frozenset((*KERNEL.needs, *INSPECTION.needs)))
    assert printed.startswith("processes in other network namespaces are not inspected")
    assert printed.endswith("needs CAP_SYS_ADMIN")


def test_each_feature_names_what_it_lacks():
    assert [feature.lacks(ALL) for feature in FEATURES] == [()] * 4
    assert ELSEWHERE.lacks(frozenset(INSPECTION.needs)) == ("CAP_SYS_ADMIN",)
    assert KERNEL.lacks(frozenset()) == ("CAP_BPF", "CAP_PERFMON")
