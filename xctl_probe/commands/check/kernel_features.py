"""Features of the kernel that a process without privileges can test, by parts of the loader."""

from __future__ import annotations

from xctl_probe.config.choices import Attach
from xctl_probe.ebpf.attach_variants import ATTACH_VARIANTS, AttachVariant, kernel_names
from xctl_probe.ebpf.libbpf import Library
from xctl_probe.errors import SourceUnavailable

HAS_ALL = "the kernel has what it needs, as far as is visible"


def load_is_refused() -> bool:
    """True where the kernel refuses the smallest program with EPERM."""
    try:
        return Library().refuses_trampolines(ATTACH_VARIANTS[0].hooks[0].target)
    except SourceUnavailable:
        return False


def other_blockers(attach: Attach) -> str:
    """Return what else is missing, by libbpf and by files that any user may read."""
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
    """Return the first missing feature, None where nothing is missing."""
    if variant.needs is not None and not variant.needs.exists():
        return f"{variant.name}s"
    for hook in variant.hooks:
        if not hook.optional and hook.target not in names:
            return hook.target.removeprefix("btf_trace_")
    return None
