"""Which hooks are attached, which this kernel lacks, and which it refuses."""

from __future__ import annotations

import errno

import pytest

from xctl_probe.ebpf.attach_variants import AttachVariant, Hook
from xctl_probe.ebpf.libbpf import BpfError
from xctl_probe.ebpf.loader import _attach
from xctl_probe.ebpf.programs import Hooks

NEEDED = Hook("on_state", "btf_trace_inet_sock_set_state")
ENTRY = Hook("begin", "inet6_sendmsg", optional=True)
RETURN = Hook("end", "inet6_sendmsg", optional=True)
OLD = Hook("on_page", "inet_sendpage", optional=True)
FLAVOUR = AttachVariant("kprobe", "kprobe.bpf.o", (NEEDED, ENTRY, RETURN, OLD))


class Programs:
    def __init__(self, *refused: str) -> None:
        self._refused = refused

    def attach(self, program: str) -> None:
        if program in self._refused:
            raise BpfError(f"attach {program}", errno.EINVAL)


def attached(*refused: str) -> Hooks:
    return _attach(Programs(*refused), FLAVOUR, (OLD,))  # type: ignore[arg-type]


def test_each_place_is_told_once_by_the_kernels_name() -> None:
    assert attached() == Hooks(("inet_sock_set_state", "inet6_sendmsg"), ("inet_sendpage",))


def test_one_that_can_be_done_without_is_told_as_refused() -> None:
    found = attached("begin", "end")
    assert found == Hooks(("inet_sock_set_state",), ("inet_sendpage",), ("inet6_sendmsg",))


def test_one_that_is_needed_is_the_end_of_the_flavour() -> None:
    with pytest.raises(BpfError):
        attached("on_state")
