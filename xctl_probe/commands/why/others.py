"""Descriptors that a thread may wait on, other than dumped TCP and UDP sockets.

The attribute `system.sockprotoname` names the protocol of any socket (net/socket.c);
fdinfo and mountinfo name the file system of any file, without asking that file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.linux import procfs

_LOCAL = {
    "UNIX": "a local (unix) socket",
    "UNIX-STREAM": "a local (unix) socket",
    "NETLINK": "a netlink socket, which the kernel answers",
    "ALG": "a socket of the kernel's cryptography",
}
_INTERNET = ("TCP", "UDP")
_NAMES = {
    "PING": "an ICMP socket", "RAW": "a raw socket", "PACKET": "a packet socket",
    "MPTCP": "a Multipath TCP socket",
}  # fmt: skip
# Network file systems, and one that is served by a program.
_NETWORK_FILES = ("nfs", "cifs", "smb3", "ceph", "9p", "afs", "ocfs2", "gfs2", "lustre")
_FUSE = "fuse"
_DEVICE = 3  # field of a line of maps
_MOUNTED = 2  # field of a line of mountinfo: the device


@dataclass(frozen=True, slots=True)
class Other:
    """A socket without a dump; `protocol` is the kernel's name, empty where unknown."""

    fd: int
    inode: int
    protocol: str

    @property
    def local(self) -> bool:
        """True when its peer is certainly on this host."""
        return self.protocol in _LOCAL

    @property
    def internet(self) -> bool:
        """True for TCP and UDP: unconnected, or of another network namespace."""
        return self.protocol.removesuffix("v6") in _INTERNET

    @property
    def text(self) -> str:
        """Description for the user."""
        if self.internet:
            return f"a {self.protocol.removesuffix('v6')} socket that no dump shows"
        name = self.protocol.removesuffix("v6")
        known = _LOCAL.get(name) or _NAMES.get(name)
        return known or (f"a {name} socket" if name else "a socket of an unknown protocol")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a network or FUSE file system; `kind` is the type of the file system."""

    kind: str
    source: str  # server and path, as mounted

    @property
    def fuse(self) -> bool:
        """True when a program on this host serves it."""
        return self.kind.partition(".")[0] == _FUSE


def other_sockets(reader: int, fds: dict[int, int], known: set[int]) -> list[Other]:
    """Return the sockets that are not among `known`; `fds` is descriptor by inode."""
    return [Other(fd, i, _protocol(reader, fd)) for i, fd in fds.items() if i not in known]


def distant_files(reader: int, fds: Iterable[int], proc: Path = Path("/proc")) -> dict[int, File]:
    """Return the files of network and FUSE file systems, by descriptor."""
    found, mounts = {}, None
    for fd in fds:
        mount = _mount_of(proc / str(reader) / "fdinfo" / str(fd))
        if mount is None:
            continue
        mounts = _mounts(proc / str(reader) / "mountinfo") if mounts is None else mounts
        if mount in mounts:
            found[fd] = mounts[mount]
    return found


def mapped_file(reader: int, proc: Path = Path("/proc")) -> File | None:
    """Return a file of such a file system that is mapped into the memory of the process."""
    devices = _by_device(proc / str(reader) / "mountinfo")
    if not devices:
        return None
    lines = procfs.read(proc / str(reader) / "maps").decode("ascii", "replace").splitlines()
    mapped = (line.split()[_DEVICE:][:1] for line in lines)
    return next((devices[device] for (device,) in filter(None, mapped) if device in devices), None)


def mounted_file(reader: int, proc: Path = Path("/proc")) -> File | None:
    """Return such a file system that the process may reach by a path."""
    return next((file for _, file in _distant(proc / str(reader) / "mountinfo")), None)


def _by_device(path: Path) -> dict[str, File]:
    """Return such file systems by device, as maps writes it: in hexadecimal."""
    found = {}
    for line, file in _distant(path):
        major, _, minor = line.split()[_MOUNTED].partition(":")
        found[f"{int(major):02x}:{int(minor):02x}"] = file
    return found


def _protocol(reader: int, fd: int) -> str:
    try:
        return procfs.socket_protocol(f"/proc/{reader}/fd/{fd}")
    except OSError:
        return ""


def _mount_of(path: Path) -> str | None:
    for line in procfs.read(path).decode("utf-8", "backslashreplace").splitlines():
        if line.startswith("mnt_id:"):
            return line.partition(":")[2].strip()
    return None


def _mounts(path: Path) -> dict[str, File]:
    return {line.partition(" ")[0]: file for line, file in _distant(path)}


def _distant(path: Path) -> Iterator[tuple[str, File]]:
    """Yield the lines of mountinfo that are of network and FUSE file systems."""
    for line in procfs.read(path).decode("utf-8", "backslashreplace").splitlines():
        before, _, after = line.partition(" - ")
        kind, source = (*after.split(), "", "")[:2]
        if kind.startswith(_NETWORK_FILES) or kind.partition(".")[0] == _FUSE:
            yield before, File(kind, source)
