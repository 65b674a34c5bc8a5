"""The small rooms of the kernel source, without a kernel: decoding, names, privileges."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from xctl_probe.ebpf import bpf_object
from xctl_probe.ebpf.abi import PROCESS_KEY, PROCESS_TRAFFIC, decode_process, process
from xctl_probe.ebpf.attach_variants import kernel_names
from xctl_probe.ebpf.loader import MapSizes, load, lru_entries
from xctl_probe.ebpf.ringbuf import _ready
from xctl_probe.errors import SourceUnavailable, UsageError
from xctl_probe.events import Process
from xctl_probe.linux import capabilities

AF_INET, AF_INET6 = 2, 10


def test_a_task_outside_the_namespace_is_unknown_and_a_name_may_hold_any_bytes() -> None:
    assert process(0, 5, b"x") is None
    assert process(23, 5, b"\xffab\0junk") == Process(23, 5, "\\xffab")


def test_an_entry_of_the_process_map() -> None:
    key = PROCESS_KEY.pack(7_000, 23, 1, 4026531840, 0)
    value = PROCESS_TRAFFIC.pack(161, 13, 700, 29, 0, b"nginx")
    decoded = decode_process(key, value)
    assert decoded.owner == Process(29, 700, "nginx")
    assert (decoded.sent_bytes, decoded.received_bytes, decoded.ifindex) == (161, 13, 1)


def test_records_after_one_that_is_still_written_wait() -> None:
    done, busy = b"\x68\0\0\0", b"\x68\0\0\x80"
    assert _ready(done * 7, done) == 7
    assert _ready(done * 3 + busy + done * 3, done) == 3
    assert _ready(b"", done) == 0


def status_of(tmp_path: Path, capabilities: int) -> Path:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/user").symlink_to("/proc/self/ns/user")
    (tmp_path / "self/status").write_text(f"Name:\tx\nCapEff:\t{capabilities:016x}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("bits", "enough"),
    [((38, 39), True), ((21,), True), ((39,), False), ((38,), False), ((), False)],
)
def test_bpf_and_perfmon_are_enough(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bits: tuple[int, ...],
    enough: bool,
) -> None:
    proc = status_of(tmp_path, sum(1 << bit for bit in bits))
    # The test may itself run in a user namespace; then that one is taken for the first.
    monkeypatch.setattr(
        capabilities, "_FIRST_USER_NAMESPACE", (proc / "self/ns/user").stat().st_ino
    )
    why = capabilities.missing(proc)
    assert (why is None) is enough
    assert enough or "CAP_BPF and CAP_PERFMON" in str(why)


def test_root_of_a_user_namespace_is_reported_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc = status_of(tmp_path, (1 << 41) - 1)
    monkeypatch.setattr(capabilities, "_FIRST_USER_NAMESPACE", 1)
    assert "user namespace" in str(capabilities.missing(proc))


def test_a_kernel_without_btf_gives_a_sentence_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"CONFIG_DEBUG_INFO_BTF.*bcc"):
        kernel_names(tmp_path / "vmlinux")


def test_names_are_found_whole(tmp_path: Path) -> None:
    btf = tmp_path / "vmlinux"
    types = b"inet_recvmsg\0"
    strings = b"\0tcp_sendmsg_locked\0inet_sendmsg\0elsewhere\0is_mptcp\0"
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    btf.write_bytes(header + types + strings)
    assert kernel_names(btf) == {"inet_sendmsg", "is_mptcp"}


def test_hooks_of_ipv6_are_found_where_it_is_a_module(tmp_path: Path) -> None:
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 0)
    btf, module = tmp_path / "vmlinux", tmp_path / "ipv6"
    btf.write_bytes(header + b"\0inet_sendmsg\0")
    assert kernel_names(btf, module) == {"inet_sendmsg"}
    module.write_bytes(header + b"inet6_sendmsg\0udpv6_sendmsg\0")
    assert kernel_names(btf, module) == {"inet_sendmsg", "inet6_sendmsg", "udpv6_sendmsg"}
    module.write_bytes(header[:7])
    assert kernel_names(btf, module) == {"inet_sendmsg"}


def test_a_name_that_is_cut_by_a_piece_is_found(tmp_path: Path) -> None:
    btf = tmp_path / "vmlinux"
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 0)
    for filler in range(65536 - 12, 65536 + 1):  # "inet_sendmsg" at either side, and across
        btf.write_bytes(header + b"\0" * filler + b"inet_sendmsg\0")
        assert kernel_names(btf) == {"inet_sendmsg"}, filler


def test_an_unknown_variant_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UsageError, match="tracepoint"):
        load("uprobe", 1, MapSizes(), None)


@pytest.mark.parametrize(("cpus", "entries"), [(2, 4_099), (16, 4_099), (17, 4_352)])
def test_a_map_has_room_for_what_each_cpu_holds_ready(cpus: int, entries: int) -> None:
    assert lru_entries(4_099, cpus) == entries


def test_an_iterator_that_has_come_to_nothing_yet_goes_on() -> None:
    """After a million objects of which its program writes nothing, a read is EAGAIN."""
    answers: list[bytes | None] = [None, b"ab", None, None, b"c", b""]

    def read() -> bytes:
        answer = answers.pop(0)
        if answer is None:
            raise BlockingIOError
        return answer

    assert list(bpf_object._chunks(read)) == [b"ab", b"c"]
    assert answers == []
