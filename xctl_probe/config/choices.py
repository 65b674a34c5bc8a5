"""Values of the options that have a fixed set of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class Backend(StrEnum):
    """Source of events; `auto`: the best one that works."""

    AUTO = "auto"
    EBPF = "ebpf"
    BCC = "bcc"
    SAMPLER = "sampler"


class Attach(StrEnum):
    """Attach variant of the kernel programs; `auto`: the best one that this kernel supports."""

    AUTO = "auto"
    FENTRY = "fentry"
    KPROBE = "kprobe"
    TRACEPOINT = "tracepoint"
    TRACEPOINT_FILES = "tracepoint_files"


class Format(StrEnum):
    """Output format; `auto`: text on a terminal, NDJSON elsewhere."""

    AUTO = "auto"
    NDJSON = "ndjson"
    TEXT = "text"


# What `auto` stands for: one of these.
ConcreteFormat = Literal[Format.NDJSON, Format.TEXT]
