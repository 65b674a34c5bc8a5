"""Which iterator reads the sockets, and an iteration that the kernel interrupts."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from xctl_probe.ebpf import bpf_object, loader
from xctl_probe.ebpf.attach_variants import FENTRY, KPROBE, TRACEPOINT, TRACEPOINT_FILES
from xctl_probe.ebpf.bpf_object import KernelIterator
from xctl_probe.ebpf.libbpf import BpfError

NAMES = frozenset(hook.target for hook in TRACEPOINT.hooks)


def reads(monkeypatch: pytest.MonkeyPatch, *answers: bytes | OSError) -> bytes:
    """What an iteration gives where read(2) answers so."""
    left = list(answers)
    closed = []

    def read(fd: int, count: int) -> bytes:
        answer = left.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(bpf_object, "os", SimpleNamespace(read=read, close=closed.append))
    library = SimpleNamespace(bpf_iter_create=lambda _: 1_009)
    try:
        return KernelIterator(7, library).run()  # type: ignore[arg-type]
    finally:
        assert closed == [1_009]


def test_an_iteration_goes_on_after_a_million_objects_without_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    assert reads(monkeypatch, again, b"one", again, again, b"two", b"") == b"onetwo"


def test_another_error_stops_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Input/output"):
        reads(monkeypatch, b"one", OSError(errno.EIO, os.strerror(errno.EIO)))


def test_each_way_names_what_its_iterator_goes_over() -> None:
    found = [f.map_iterator for f in (FENTRY, KPROBE, TRACEPOINT, TRACEPOINT_FILES)]
    assert found == ["bpf_sk_storage_map", "bpf_map_elem", "bpf_sk_storage_map", None]


def test_a_kernel_that_refuses_iterators_over_maps_is_reported_as_that() -> None:
    """With the errno for `check`; the programs that need none are not asked."""
    library = SimpleNamespace(refuses_iterator=lambda target: target == "bpf_sk_storage_map")
    with pytest.raises(loader._Unsupported, match="iterators over maps") as refusal:
        loader._require(library, NAMES, TRACEPOINT)  # type: ignore[arg-type]
    cause = refusal.value.__cause__
    assert isinstance(cause, BpfError)
    assert cause.errno == errno.EPERM
    assert loader._require(library, NAMES, TRACEPOINT_FILES) == ()  # type: ignore[arg-type]
