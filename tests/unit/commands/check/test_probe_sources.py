"""What comes of trying a source that works, refuses, fails, crashes or hangs."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from xctl_probe.commands.check import command, probe_sources
from xctl_probe.commands.check.host import Condition, Host
from xctl_probe.commands.check.probe_sources import (
    AUTO,
    Answer,
    SourceVariant,
    probe_source,
    source_variants,
)
from xctl_probe.commands.check.remedies import remedies
from xctl_probe.commands.check.report import Checked, Row, to_json, to_text
from xctl_probe.config.choices import Attach, Backend
from xctl_probe.ebpf.attach_variants import ATTACH_VARIANTS
from xctl_probe.errors import SourceUnavailable
from xctl_probe.sources import select
from xctl_probe.sources.blind_spots import BLIND_SPOTS
from xctl_probe.sources.privileges import FEATURES, KPROBES

EBPF = SourceVariant("ebpf kprobe", Backend.EBPF, Attach.KPROBE)
HOST = Host((Condition("kernel", "6.18"),), True, False, False, None, False)


class Refused(Exception):
    """As the loader's own: with an errno and what was refused."""

    def __init__(self, what, number):
        super().__init__(f"{what}: no")
        self.what, self.errno = what, number


def source(**more):
    """A source that opens and reads."""
    found = {"name": "ebpf", "attach": "kprobe", "description": "kprobe: everything"} | more
    nothing = {"drain": lambda _: None, "close": lambda: None}
    return SimpleNamespace(**(nothing | found))


def refuse(what, number):
    """Raise what a loader raises, which hides the kernel's answer from the user's one line."""
    try:
        raise Refused(what, number)
    except Refused:
        raise SourceUnavailable("kprobe: the kernel says no") from None


@pytest.fixture
def opens(monkeypatch):
    """Let every opener be this function of the settings."""

    def use(opener):
        monkeypatch.setattr(select, "_OPENERS", dict.fromkeys(Backend, opener))

    return use


def test_every_way_comes_from_the_options_and_has_its_blind_spots():
    """A new backend or variant cannot be forgotten here."""
    names = [way.name for way in source_variants()]
    assert names == list(BLIND_SPOTS)
    assert {way.backend for way in source_variants()} == {*Backend} - {Backend.AUTO}
    assert {way.name.split()[0] for way in source_variants()} == {*Backend} - {Backend.AUTO}
    kernel = {way.attach.value for way in source_variants() if way.backend is Backend.EBPF}
    assert kernel == {variant.name for variant in ATTACH_VARIANTS}


def test_each_blind_spot_has_one_key_and_one_text():
    """Documents and tests go by the key."""
    spots = {spot for found in BLIND_SPOTS.values() for spot in found}
    assert len({spot.key for spot in spots}) == len({spot.text for spot in spots}) == len(spots)


def test_a_source_that_opens_and_reads_works(opens):
    """What it sees is printed without what the row has already."""
    opens(lambda _: source())
    outcome = probe_source(EBPF, command._SETTINGS)
    assert (outcome.answer, outcome.reason) == (Answer.YES, "everything")
    assert outcome.source == "ebpf kprobe"
    assert probe_source(AUTO, command._SETTINGS).source == "ebpf kprobe"


def test_a_refusal_comes_with_the_errno_of_what_was_refused(opens):
    """However deep in the chain of exceptions."""
    opens(lambda _: refuse("attach on_send", errno.EPERM))
    outcome = probe_source(EBPF, command._SETTINGS)
    assert (outcome.answer, outcome.reason) == (Answer.NO, "the kernel says no")
    assert (outcome.errno, outcome.call) == ("EPERM", "attach on_send")


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.EAGAIN])
def test_a_passing_trouble_is_no_answer(opens, number):
    """Short of memory shows nothing about the kernel."""
    opens(lambda _: refuse("load", number))
    assert probe_source(EBPF, command._SETTINGS).answer is Answer.UNKNOWN


def test_a_bug_a_crash_and_a_hang_are_no_answers(opens):
    """Each is printed as what it is; the others are tried all the same."""

    def fail(settings):
        raise ValueError("a bug")

    opens(fail)
    assert "ValueError: a bug" in probe_source(EBPF, command._SETTINGS).reason
    opens(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert probe_source(EBPF, command._SETTINGS).reason == "trying it ended with SIGKILL"
    opens(lambda _: time.sleep(60))
    outcome = probe_source(EBPF, command._SETTINGS, longest_s=0.1)
    assert outcome.reason.startswith("no answer within")
    assert outcome.answer is Answer.UNKNOWN


def test_a_source_that_cannot_be_read_is_no_yes(opens):
    """Opening is not enough."""

    def fail(now_ns):
        raise OSError(errno.EIO, "broken")

    opens(lambda _: source(drain=fail))
    assert probe_source(EBPF, command._SETTINGS).answer is Answer.UNKNOWN


def test_what_is_tried_prints_nothing(opens, capfd):
    """Compilers do."""

    def noisy(settings):
        os.write(1, b"warning")
        os.write(2, b"warning")
        return source()

    opens(noisy)
    probe_source(EBPF, command._SETTINGS)
    assert capfd.readouterr() == ("", "")


def test_the_sampler_without_sock_diag_is_a_no_for_sock_diag(opens, monkeypatch):
    """It works, but not this way; the errno is that of another try."""

    class Refusing:
        def __init__(self):
            raise OSError(errno.EPROTONOSUPPORT, "no")

    monkeypatch.setattr(probe_sources, "SockDiag", Refusing)
    fell_back = source(
        name="sampler", refused="sock_diag is refused here", description="/proc/net only"
    )
    opens(lambda _: fell_back)
    by_name = {way.name: probe_source(way, command._SETTINGS) for way in source_variants()}
    diag, net = by_name["sampler sock_diag"], by_name["sampler /proc/net"]
    assert (diag.answer, diag.errno) == (Answer.NO, "EPROTONOSUPPORT")
    assert (net.answer, net.source) == (Answer.YES, "sampler /proc/net")


@pytest.mark.parametrize(
    ("host", "reason", "number", "expected_text"),
    [
        ({"privileged": False}, "not permitted", "EPERM", "setcap cap_bpf,cap_perfmon=ep"),
        ({"privileged": False, "container": True}, "not permitted", None, "--cap-add BPF"),
        ({"privileged": False, "user_namespace": True}, "x", "EPERM", "--userns host"),
        ({"lockdown": "confidentiality"}, "refused", "EPERM", "lockdown=integrity"),
        ({"seccomp": True}, "refused", "EPERM", "seccomp=unconfined"),
        ({}, "this kernel has no kprobes", None, "CONFIG_KPROBES"),
        ({}, "refused", "ENOMEM", "try again"),
    ],
)
def test_a_remedy_fits_what_stands_in_the_way(opens, host, reason, number, expected_text):
    """The most likely obstacle, by what the host shows."""
    answer = Answer.UNKNOWN if number == "ENOMEM" else Answer.NO
    outcome = probe_sources.ProbeResult(answer, reason, number)
    found = remedies(EBPF, outcome, replace(HOST, **host))
    assert any(expected_text in line for line in found), found


def test_iterators_that_are_refused_are_no_matter_of_the_version():
    """The kernel has the tracepoints; the other programs do without."""
    way = SourceVariant("ebpf tracepoint", Backend.EBPF, Attach.TRACEPOINT)
    outcome = probe_sources.ProbeResult(
        Answer.NO, "the kernel refuses iterators over maps", "EPERM"
    )
    (remedy,) = remedies(way, outcome, HOST)
    assert "tracepoint_files" in remedy
    (remedy,) = remedies(way, probe_sources.ProbeResult(Answer.NO, "no sock_send_length"), HOST)
    assert remedy == "Linux 6.3 or later"


def test_where_it_works_nothing_is_to_be_done():
    """And where what is missing is no privilege, none is asked for."""
    assert remedies(EBPF, probe_sources.ProbeResult(Answer.YES, ""), HOST) == []
    missing = probe_sources.ProbeResult(Answer.NO, "not part of this version")
    bcc = SourceVariant("bcc", Backend.BCC)
    assert remedies(bcc, missing, replace(HOST, privileged=False)) == []


def checked(*answers):
    rows = [
        Row(way, probe_sources.ProbeResult(answer, "because \x1b[2J"), ("do this",))
        for way, answer in zip(source_variants(), answers, strict=False)
    ]
    auto = probe_sources.ProbeResult(Answer.YES, "", source="sampler /proc/net")
    return Checked(tuple(rows), auto, HOST)


def test_the_table_names_each_way_its_answer_and_what_auto_cannot_see():
    """In ASCII, with nothing that a terminal obeys."""
    text = to_text(checked(Answer.NO, Answer.UNKNOWN, Answer.YES))
    assert text.isascii()
    assert b"\x1b" not in text
    lines = text.decode().splitlines()
    assert lines[0].split()[:3] == ["ebpf", "fentry", "no"]
    assert lines[1].strip() == "remedy: do this"
    assert "unknown" in lines[2]
    assert "auto takes sampler /proc/net, which cannot see:" in lines
    for spot in BLIND_SPOTS["sampler /proc/net"]:
        assert f"  - {spot.text}" in lines
    assert to_json(checked(Answer.NO)).count(b"\n") == 1


def test_interface_that_carries_roce_is_a_blind_spot_of_this_host():
    host = replace(HOST, roce=(("eth3", "mlx5_0 has one"),))
    found = replace(checked(Answer.YES), host=host)
    spot = "RDMA in the bandwidth of eth3: its counters leave RoCE out; mlx5_0 has one"
    assert f"  - {spot}" in to_text(found).decode().splitlines()
    assert [text for key, text in spots(found) if key == "roce_eth3"] == [spot]


def test_each_feature_has_a_row_with_what_its_lack_costs():
    """What is held here, and what would come with more."""
    having = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"})
    found = replace(checked(Answer.YES), capabilities=having)
    lines = [line.split() for line in to_text(found).decode().splitlines()]
    at = lines.index(["feature", "here", "needs"])
    assert lines[at + 1][-3:] == ["yes", "CAP_BPF,", "CAP_PERFMON"]
    assert lines[at + 2][-4:] == ["no", "CAP_BPF,", "CAP_PERFMON,", "CAP_SYS_ADMIN"]
    assert lines[at + 3] == ["lacks", "CAP_SYS_ADMIN:", *KPROBES.without.split()]
    features = {one["key"]: one for one in json.loads(to_json(found))["features"]}
    assert list(features) == [one.key for one in FEATURES]
    assert (features["kernel"]["here"], features["kernel"]["lacks"]) == (True, [])
    assert features["namespaces"]["here"] is False
    assert features["namespaces"]["needs"] == [
        "CAP_SYS_PTRACE",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_ADMIN",
    ]
    assert features["namespaces"]["lacks"] == ["CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]
    assert features["namespaces"]["without"]


def spots(found):
    return [(spot["key"], spot["text"]) for spot in json.loads(to_json(found))["blind_spots"]]


def test_where_it_is_attached_is_reported():
    """To who asks why something is less exact, on this kernel or another."""
    hooks = {"attached": ["inet_sendmsg", "tcp_sendpage"], "absent": [], "refused": ["one"]}
    auto = probe_sources.ProbeResult(Answer.YES, "", source="ebpf kprobe", hooks=hooks)
    lines = to_text(replace(checked(Answer.YES), auto=auto)).decode().splitlines()
    assert "it is attached to: inet_sendmsg, tcp_sendpage" in lines
    assert "refused by the kernel, so that something is less exact: one" in lines
    assert not any(line.startswith("not in this kernel") for line in lines)


@pytest.mark.parametrize(
    ("answers", "code"),
    [([Answer.NO, Answer.YES], 0), ([Answer.NO, Answer.UNKNOWN], 1)],
)
def test_the_exit_code_reports_whether_a_source_works(monkeypatch, tmp_path, answers, code):
    """For scripts."""
    monkeypatch.setattr(command, "check", lambda: checked(*answers))
    with open(tmp_path / "out", "wb") as out:
        assert command.run(out.fileno(), as_json=False) == code
