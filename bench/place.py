"""Where a benchmark runs: loopback alone, in namespaces of its own, with nothing of it left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs" / "bench"
_INSIDE = "XCTL_BENCH_INSIDE"


def isolate(module: str = "bench") -> None:
    """Go on in a network and a mount namespace of one's own, as the same process.

    Traffic so stays on its own loopback; bpftrace and bcc find a tracefs that not every host
    has mounted.  Without root the user namespace makes a root of the caller.
    """
    if not os.environ.get(_INSIDE):
        os.environ[_INSIDE] = "1"
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        unshare = shutil.which("unshare")
        if unshare is None:
            sys.exit("bench: unshare is missing: install util-linux")
        words = [unshare, *user, "--net", "--mount", sys.executable, "-m", module, *sys.argv[1:]]
        os.execv(unshare, words)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for kind, where in (("tracefs", "/sys/kernel/tracing"), ("debugfs", "/sys/kernel/debug")):
        if not any(Path(where).iterdir()):
            subprocess.run(["mount", "-t", kind, kind, where], check=False, capture_output=True)


def privileged() -> bool:
    """True where kernel programs may be loaded: root of the host, not of a user namespace."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] == "4294967295"


def as_anybody() -> list[str]:
    """Return the prefix of a command that drops every privilege.

    The traffic and the sampler run as the same user, so that the sampler may read the processes of
    the traffic, as it reads those of its user.
    """
    if not privileged():
        return []
    return [
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
        "--inh-caps=-all",
    ]  # fmt: skip
