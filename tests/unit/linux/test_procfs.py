"""Readers of /proc: what cannot be read is empty, and what is mangled is no process."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.events import Process
from xctl_probe.linux import procfs

LINE = b"233 (a) b) S 1 " + b"7 " * 17 + b"7001 " + b"3 " * 30


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 50_021])
def test_a_file_is_read_whole_whatever_its_length(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert procfs.read(tmp_path / "file") == content
    assert procfs.read(str(tmp_path / "file"), 16_387) == content[:16_387]


def test_one_read_of_a_pipe_takes_what_is_there(tmp_path):
    """`read_once` does not wait for more."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x" * 23)
        assert procfs.read_once(f"/proc/self/fd/{reading}", 1_009) == b"x" * 23
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("name", ["gone", "folder", "folder/gone"])
def test_what_cannot_be_read_is_empty(tmp_path, name):
    """What is not there, and a folder."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    assert procfs.read(path) == procfs.read_once(path) == procfs.read_memory(path, 0, 8) == b""
    assert procfs.text(path) == procfs.word(path) == procfs.link(path) == procfs.state(path) == ""


def test_no_descriptor_stays_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    for path in ("/proc/self/stat", tmp_path, tmp_path / "gone"):
        procfs.read(path)
        procfs.read_once(path)
        procfs.read_memory(path, 1 << 63, 8)
    assert os.listdir("/proc/self/fd") == before


def test_own_memory_is_read_by_its_address():
    import ctypes

    held = ctypes.create_string_buffer(b"23 messages of 7 bytes")
    address = ctypes.addressof(held)
    assert procfs.read_memory("/proc/self/mem", address, 11) == b"23 messages"
    assert procfs.read_memory("/proc/self/mem", 1 << 70, 11) == b""


@pytest.mark.parametrize(
    ("target", "inode"),
    [("socket:[4241]", 4_241), ("pipe:[4241]", None), ("/dev/null", None), ("", None)],
)
def test_a_link_is_a_socket_by_its_beginning(target, inode):
    assert procfs.socket_inode(target) == inode


def test_a_name_may_hold_spaces_and_parentheses():
    stat = procfs.parse_stat(LINE)
    assert stat is not None
    assert (stat.comm, stat.state, stat.fields[1]) == (b"a) b", "S", b"1")
    times = [b"S", *[b"0"] * 10, b"23", b"7"]
    assert procfs.Stat(b"a", times).cpu_ticks == (23, 7)
    assert procfs.Stat(b"a", times[:-1]).cpu_ticks is None
    assert procfs.Stat(b"a", [*times[:-1], b"x"]).cpu_ticks is None
    assert procfs.parse_process(233, LINE) == Process(233, 7_001, "a) b")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_process_or_none(text):
    """Never an exception, whatever stands in stat and status."""
    process = procfs.parse_process(233, text)
    assert process is None or process.start_ticks >= 0
    assert procfs.effective_capabilities(b"Name:\tx\nCapEff:\t" + text) >= 0 or b"-" in text
    assert b"\n" not in procfs.status_field(text, "Uid")


def test_a_field_of_status_is_found_whatever_the_process_calls_itself(tmp_path):
    """A name may resemble a field: the kernel escapes its newline."""
    folder = tmp_path / "233"
    folder.mkdir()
    (folder / "status").write_bytes(
        b"Name:\tUid:\t7\\nCapEff:\xff\nUid:\t1009\t1013\t1019\t1021\nCapEff:\t0000000000200000\n"
    )
    status = procfs.read(folder / "status")
    assert procfs.status_field(status, "Uid").split() == [b"1009", b"1013", b"1019", b"1021"]
    assert procfs.status_field(status, "Gid") == b""
    assert procfs.effective_capabilities(status) == 1 << 21
    assert procfs.users(233, tmp_path) == [1009, 1013, 1019, 1021]
    assert (procfs.real_user(233, tmp_path), procfs.real_user(239, tmp_path)) == (1009, -1)


def test_a_namespace_is_known_by_its_inode():
    assert procfs.namespace_inode("net") == os.stat("/proc/self/ns/net").st_ino
    assert procfs.namespace_inode("net", os.getpid()) == procfs.namespace_inode("net", "self")
    with pytest.raises(OSError, match="ns/nothing"):
        procfs.namespace_inode("nothing")
