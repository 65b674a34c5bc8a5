"""Who may not load programs: is that all that is missing?  By the loader's own parts."""

from __future__ import annotations

from xctl_probe.config import Attach
from xctl_probe.ebpf.attach_variants import ATTACH_VARIANTS, AttachVariant, kernel_names
from xctl_probe.ebpf.libbpf import Library
from xctl_probe.errors import SourceUnavailable

HAS_ALL = "the kernel has what it needs, as far as may be seen"


def load_is_refused() -> bool:
    """Does the kernel answer EPERM to the smallest program there is?"""
    try:
        return Library().refuses_trampolines(ATTACH_VARIANTS[0].hooks[0].target)
    except SourceUnavailable:
        return False


def other_blockers(attach: Attach) -> str:
    """What else is there or missing, from libbpf and from what anybody may read of the kernel."""
    try:
        Library()
        names = kernel_names()
    except SourceUnavailable as error:
        return str(error)
    lacking = [_lacks(variant, names) for variant in ATTACH_VARIANTS if variant.name == attach]
    if None in lacking:
        return HAS_ALL
    return f"the kernel has no {lacking[0]}, so root could not use it either"


def _lacks(variant: AttachVariant, names: frozenset[str]) -> str | None:
    """The first thing that is missing; None where nothing is."""
    if variant.needs is not None and not variant.needs.exists():
        return f"{variant.name}s"
    for hook in variant.hooks:
        if not hook.optional and hook.target not in names:
            return hook.target.removeprefix("btf_trace_")
    return None
