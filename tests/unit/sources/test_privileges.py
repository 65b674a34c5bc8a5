"""Which capabilities are held, and what their lack is worth to a user."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xctl_probe.config.choices import Backend
from xctl_probe.config.settings import Settings
from xctl_probe.linux import capabilities
from xctl_probe.linux.capability_sets import BITS
from xctl_probe.sources import privileges
from xctl_probe.sources.privileges import (
    ELSEWHERE,
    FEATURES,
    INSPECTION,
    KERNEL,
    features_of,
    folders_of,
    give_up_others,
    held,
    shortcoming,
)

ALL = frozenset(BITS)
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
        (1 << 1, {"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"}),  # the first includes the second
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
    assert [feature.lacks(ALL) for feature in FEATURES] == [()] * len(FEATURES)
    assert ELSEWHERE.lacks(frozenset(INSPECTION.needs)) == ("CAP_SYS_ADMIN",)
    assert KERNEL.lacks(frozenset()) == ("CAP_BPF", "CAP_PERFMON")


def needs(**given):
    return {name for one in features_of(Settings.checked(given)) for name in one.needs}


INSPECTS = {"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}
LOADS = {"CAP_BPF", "CAP_PERFMON"}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, LOADS | INSPECTS | {"CAP_SYS_ADMIN"}),
        ({"backend": Backend.EBPF}, LOADS | INSPECTS | {"CAP_SYS_ADMIN"}),
        ({"backend": Backend.BCC}, LOADS | INSPECTS | {"CAP_SYS_ADMIN", "CAP_SYSLOG"}),
        ({"backend": Backend.SAMPLER}, INSPECTS),
        ({"backend": Backend.SAMPLER, "prometheus": "1024"}, INSPECTS),
        ({"backend": Backend.SAMPLER, "prometheus": "1023"}, INSPECTS | {"CAP_NET_BIND_SERVICE"}),
        ({"backend": Backend.SAMPLER, "prometheus": "0"}, INSPECTS),  # any port that is free
    ],
)
def test_the_stream_needs_what_its_settings_ask_for(monkeypatch, tmp_path, given, names):
    monkeypatch.setattr(privileges, "_KERNEL_TYPES", tmp_path)
    monkeypatch.setattr(privileges, "_UNPRIVILEGED_PORTS", tmp_path / "none")  # 1024
    assert needs(**given) == names


def test_without_kernel_types_the_stream_may_take_bcc(monkeypatch, tmp_path):
    monkeypatch.setattr(privileges, "_KERNEL_TYPES", tmp_path / "none")
    assert "CAP_SYSLOG" in needs()
    assert "CAP_SYSLOG" not in needs(backend=Backend.EBPF)


def test_a_host_may_have_fewer_privileged_ports(monkeypatch, tmp_path):
    monkeypatch.setattr(privileges, "_UNPRIVILEGED_PORTS", tmp_path / "start")
    (tmp_path / "start").write_text("80\n")
    assert "CAP_NET_BIND_SERVICE" not in needs(prometheus="80")
    assert "CAP_NET_BIND_SERVICE" in needs(prometheus="79")


def test_folders_are_those_of_options(tmp_path):
    assert folders_of(Settings.checked({})) == ()
    given = {"record": f"{tmp_path}/ring", "prometheus_file": f"{tmp_path}/metrics/a.prom"}
    assert folders_of(Settings.checked(given)) == (tmp_path / "ring", tmp_path / "metrics")


def test_a_folder_that_cannot_be_written_keeps_the_right_to(kept, tmp_path, monkeypatch):
    """As root here may write anywhere, the answer of the kernel is that of the test."""
    refused = tmp_path / "refused"
    refused.mkdir()
    monkeypatch.setattr(privileges.os, "access", lambda path, *_, **__: path != refused)
    give_up_others((INSPECTION,), [tmp_path / "new"])
    give_up_others((INSPECTION,), [tmp_path, refused / "new"])
    assert kept == [INSPECTS, {*INSPECTS, "CAP_DAC_OVERRIDE"}]


def test_the_page_has_the_table():
    text = (Path(__file__).parents[3] / "docs/privileges.md").read_text()
    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", text.split("\n## ")[0], re.MULTILINE)
    table = [(f.text, ", ".join(f"`{name}`" for name in f.needs), f.without) for f in FEATURES]
    assert rows == [("feature", "needs", "without"), *table]
