"""Where packets are counted: a value of `--packets-hook`."""

from __future__ import annotations

from enum import StrEnum


class PacketsHook(StrEnum):
    """Where packets are counted.

    `xdp` and `xdp-native` count what is received before the kernel merges it; what is sent is
    counted at tcx all the same, where the kernel has that.
    """

    TCX = "tcx"
    XDP = "xdp"  # generic: for any interface with Ethernet headers
    XDP_NATIVE = "xdp-native"  # in the driver, which may reset its queues for it
