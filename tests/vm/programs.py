"""The host's programs that fetching and booting need, installed where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .apt import architecture
from .errors import MissingProgramError
from .fetch import Report
from .foreign import MACHINES

# program, or a pattern of paths -> Debian package.  Without udev the guest finds no script ports
# and prints nothing.
_NATIVE = {
    "busybox": "busybox-static",
    "zstd": "zstd",
    "udevadm": "udev",
    "ip": "iproute2",
    "tc": "iproute2",
    "setpriv": "util-linux",
    "rdma": "iproute2",
    "ib_send_bw": "perftest",
    "/usr/lib/*/libibverbs/librxe-*.so": "ibverbs-providers",
}
_FOREIGN = {"debootstrap": "debootstrap", "dpkg-deb": "dpkg"}
_BOTH = {"depmod": "kmod", "cpio": "cpio"}
_QEMU = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}


def needed(arch: str) -> dict[str, str]:
    """Return the programs that guests of an architecture need, each with its package."""
    own = _NATIVE if arch == architecture() else _FOREIGN
    return {f"qemu-system-{MACHINES[arch]}": _QEMU[arch]} | _BOTH | own


_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def search_path() -> str:
    """A PATH with this interpreter's own directory (vng's helpers) and the sbin ones."""
    return os.pathsep.join([str(Path(sys.executable).parent), _SYSTEM_PATH])


def vng() -> str:
    """Path of virtme-ng's command; raises MissingProgramError."""
    found = shutil.which("vng", path=search_path())
    if found is None:
        raise MissingProgramError("virtme-ng is missing: pip install -e '.[kernels]'")
    return found


def ensure(report: Report, arch: str) -> None:
    """See that everything is there; as root, install what is not.  Raises MissingProgramError."""
    if arch == architecture():
        vng()
    missing = sorted({deb for name, deb in needed(arch).items() if not _have(name)})
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingProgramError(f"missing {', '.join(missing)}: sudo {' '.join(command)}")
    report(f"installing {', '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["apt-get", "update"], command):
        done = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        raise MissingProgramError(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")


def _have(name: str) -> bool:
    if name.startswith("/"):
        return any(Path("/").glob(name[1:]))
    return shutil.which(name, path=search_path()) is not None
