"""What Debian's kernels must support, written down: a feature that goes missing is a failure.

Detection alone would turn a broken detector, or a kernel that lost a feature, into a "no" in
the table that is not noticed.
"""

from __future__ import annotations

VARIANTS = ("fentry", "kprobe", "tracepoint", "proc")
# Only when asked for: each of its starts compiles for a minute, under emulation.
SLOW_VARIANTS = ("bcc",)
ALL_VARIANTS = VARIANTS + SLOW_VARIANTS
# The tests, by their files, that a way to attach must pass to be one: bytes, stalls, owners,
# lost segments, failed connects, sockets from before, what a killed probe leaves behind; and the
# numbers of system calls, which are those of the machine.
CORE = (
    "test_bytes.py or test_stalls.py or test_errors.py or test_lifetime.py or test_features.py"
    " or test_by_file.py or test_machine.py"
)
# The first series whose Debian kernel carries the variant.
SINCE = {
    "fentry": (5, 10),
    "kprobe": (5, 10),
    "tracepoint": (6, 3),  # sock:sock_send_length, Linux 6e6eda44b939
    "proc": (0, 0),
    "bcc": (5, 10),
}


# The trampolines of arm64 came later: Linux 2aa6ac03516d.
SINCE_ON = {("fentry", "arm64"): (6, 4)}


def expected(variant: str, series: str, arch: str) -> bool:
    """Whether a Debian kernel of this series ("6.12") and architecture must carry the variant."""
    major, minor = series.split(".")
    return (int(major), int(minor)) >= SINCE_ON.get((variant, arch), SINCE[variant])
