"""Which hooks are attached, which this kernel lacks, and which it refuses."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from xctl_probe.ebpf.attach_variants import (
    ATTACH_VARIANTS,
    KPROBE,
    PROFILE,
    TRACE,
    AttachVariant,
    Hook,
)
from xctl_probe.ebpf.libbpf import BpfError
from xctl_probe.ebpf.loader import _attach
from xctl_probe.ebpf.programs import Hooks

OBJECTS = Path(__file__).parents[3] / "bpf/objects/x86_64"
NEEDED = Hook("on_state", "btf_trace_inet_sock_set_state")
ENTRY = Hook("begin", "inet6_sendmsg", optional=True)
RETURN = Hook("end", "inet6_sendmsg", optional=True)
OLD = Hook("on_page", "inet_sendpage", optional=True)
VARIANT = AttachVariant("kprobe", "kprobe.bpf.o", (NEEDED, ENTRY, RETURN, OLD))


class Programs:
    def __init__(self, *refused: str) -> None:
        self._refused = refused

    def attach(self, program: str) -> None:
        if program in self._refused:
            raise BpfError(f"attach {program}", errno.EINVAL)


def attached(*refused: str) -> Hooks:
    return _attach(Programs(*refused), VARIANT, (OLD,))  # type: ignore[arg-type]


def test_each_place_is_reported_once_by_the_kernels_name() -> None:
    assert attached() == Hooks(("inet_sock_set_state", "inet6_sendmsg"), ("inet_sendpage",))


def test_one_that_can_be_done_without_is_reported_as_refused() -> None:
    found = attached("begin", "end")
    assert found == Hooks(("inet_sock_set_state",), ("inet_sendpage",), ("inet6_sendmsg",))


def test_one_that_is_needed_is_the_end_of_the_variant() -> None:
    with pytest.raises(BpfError):
        attached("on_state")


def test_the_hooks_of_kprobe_are_those_of_the_object() -> None:
    """Entry, return and tracepoint: bcc attaches by the same table and has no such sections."""
    image = (OBJECTS / KPROBE.image).read_bytes()
    sections = re.findall(rb"\0(kprobe|kretprobe|raw_tp)/(\w+)(?=\0)", image)

    def kind(hook: Hook) -> str:
        function = "kretprobe" if hook.at_return else "kprobe"
        return "raw_tp" if hook.is_tracepoint else function

    expected = sorted((kind(hook), hook.symbol) for hook in KPROBE.hooks)
    assert sorted((kind.decode(), symbol.decode()) for kind, symbol in sections) == expected


@pytest.mark.parametrize(
    "variant", [*ATTACH_VARIANTS, TRACE, PROFILE], ids=lambda variant: variant.image
)
def test_the_object_has_the_program_of_each_hook(variant: AttachVariant) -> None:
    names = set((OBJECTS / variant.image).read_bytes().split(b"\0"))
    missing = [hook.program for hook in variant.hooks if hook.program.encode() not in names]
    assert missing == [], f"not in bpf/objects/{variant.image}: add the program, then make bpf"
