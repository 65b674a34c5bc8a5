"""Where the hierarchy of version 2 of the control groups is mounted (cgroups(7))."""

from __future__ import annotations

from pathlib import Path

from xctl_probe.linux import procfs

_TYPE = b"cgroup2"


def root_of_cgroups(mounts: str = "/proc/self/mountinfo") -> Path | None:
    """Return the topmost directory that is visible here, None where none is mounted.

    In a container it is that of the container: its own sockets are below it, and no others.
    """
    for line in procfs.read(mounts).splitlines():
        fields, _, rest = line.partition(b" - ")
        if rest.split(b" ", 1)[0] == _TYPE:
            root, place = fields.split(b" ")[3:5]
            if root == b"/":
                return Path(_unescaped(place))
    return None


def _unescaped(place: bytes) -> str:
    r"""Return a path without the escapes of mountinfo: space, tab, newline and `\`, in octal."""
    for code in (b"040", b"011", b"012", b"134"):
        place = place.replace(b"\\" + code, bytes([int(code, 8)]))
    return place.decode("utf-8", "surrogateescape")
