"""Headers of the running kernel: their folder, their release, and declarations that vary."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.errors import SourceUnavailable

_MODULES = Path("/lib/modules")
_COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*|__cacheline_group_\w+\([^)]*\);", re.DOTALL)
_BEFORE_CHRONO_TYPE = re.compile(r"(\w+)(?:\[\w+\])?\s*(?::\s*\d+\s*)?;\s*u8\s+chrono_type\b")
_RETRANSMIT_ARGUMENTS = re.compile(r"\btcp_retransmit_skb,\s*TP_PROTO\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Declared:
    """Declarations that differ between kernels (see bcc_compat.h)."""

    before_chrono_type: str  # the member of struct tcp_sock that this bit-field follows
    has_sk_rx_dst_ifindex: bool  # in struct sock (5.16), else in struct inet_sock
    retransmit_reports_error: bool  # the tracepoint has a third argument (6.17)

    def flags(self) -> list[str]:
        """Return the flags for the compiler."""
        return [
            f"-DBEFORE_CHRONO_TYPE={self.before_chrono_type}",
            f"-DHAS_SK_RX_DST_IFINDEX={int(self.has_sk_rx_dst_ifindex)}",
            f"-DRETRANSMIT_REPORTS_ERROR={int(self.retransmit_reports_error)}",
        ]


def find(release: str | None = None, modules: Path = _MODULES) -> Path:
    """Return the folder with the kernel's headers, which bcc also uses.

    Raises SourceUnavailable without headers, or with those of another kernel.
    """
    release = release or platform.release()
    remedy = f"install linux-headers-{release} (apt) or kernel-devel-{release} (dnf)"
    build = modules / release / "build"
    source = modules / release / "source"
    if not (build / "include").is_dir():
        raise SourceUnavailable(f"the kernel's headers are not installed ({build}): {remedy}")
    theirs = _release_of(build)
    if theirs is not None and theirs != release:
        msg = f"the headers in {build} are those of kernel {theirs}, not of {release}: {remedy}"
        raise SourceUnavailable(msg)
    return source if (source / "include").is_dir() else build


def _release_of(build: Path) -> str | None:
    """Return the release of the headers, None where they do not contain it."""
    try:
        text = (build / "include/generated/utsrelease.h").read_text()
    except OSError:
        return None
    found = re.search(r'UTS_RELEASE\s+"([^"]+)"', text)
    return found[1] if found else None


def declared(folder: Path) -> Declared:
    """Read the declarations that bpf/include/bcc_compat.h cannot get from the compiler.

    Raises SourceUnavailable where the headers are incomplete.
    """
    try:
        tcp = _COMMENTS.sub("", (folder / "include/linux/tcp.h").read_text())
        sock = _COMMENTS.sub("", (folder / "include/net/sock.h").read_text())
        events = (folder / "include/trace/events/tcp.h").read_text()
    except OSError as error:
        msg = f"the kernel's headers are incomplete ({error.filename}): install them again"
        raise SourceUnavailable(msg) from None
    before = _BEFORE_CHRONO_TYPE.search(tcp)
    arguments = _RETRANSMIT_ARGUMENTS.search(events)
    if before is None or arguments is None:
        msg = f"the kernel's headers in {folder} declare TCP in a way that this version of the "
        raise SourceUnavailable(msg + "probe does not know: use another --backend")
    return Declared(before[1], "sk_rx_dst_ifindex;" in sock, "err" in arguments[1])
