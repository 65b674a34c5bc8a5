"""The ports of the RDMA devices: counters and link, from sysfs.

Documentation/ABI/stable/sysfs-class-infiniband; drivers/infiniband/core/sysfs.c.  A path is like
`<device>/ports/<number>/counters/port_xmit_data`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from xctl_probe.events import RdmaLink
from xctl_probe.linux import procfs
from xctl_probe.linux.links import name_text

INFINIBAND = Path("/sys/class/infiniband")
_GROUPS = ("counters", "counters_ext", "hw_counters")
# Restricted functions (DGX and GB200 under Fabric Manager) answer so, and the driver logs a line
# with each read: such a file is read once.  EACCES and EPERM will not change either.
_NEVER_AGAIN = frozenset((errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM))
_MOST_OPEN = 384  # the files of ten ports of mlx5; a process may have 1024
_LARGEST_BYTES = 4096  # a file of sysfs is a page at most
_COUNTER_BYTES = 64  # a number of 64 bits, or "N/A (no PMA)"; room for a page costs more
# rxe_register_device(), siw_device_create().  Before 5.11 they have the driver of their interface.
_SOFTWARE = ("rxe", "Software iWARP")
_RNIC = "4:"  # node_type_show(): RDMA_NODE_RNIC, an iWARP device
_FEW_GIDS = 8  # of up to 256; the first ones are those of the interface itself

Read = Callable[[str], bytes]


def read_file(path: str) -> bytes:
    """The content of a file of sysfs.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LARGEST_BYTES)
    finally:
        os.close(fd)


class KeptFiles:
    """Reads counters, and keeps as many as `most` open: a read is then four times as fast.

    An open file of sysfs keeps no device and no module from being removed.
    """

    def __init__(self, most: int = _MOST_OPEN) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    def __call__(self, path: str) -> bytes:
        """The content of a file.  Raises OSError: ENODEV where its device is gone."""
        fd = self._open.get(path)
        if fd is None:
            if len(self._open) >= self._most:
                return read_file(path)
            fd = self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, _COUNTER_BYTES, 0)
        except OSError:
            self.close([path])
            raise

    def close(self, paths: Iterable[str] | None = None) -> None:
        """Give back the descriptors of these files, of all without `paths`."""
        for path in list(self._open if paths is None else paths):
            if (fd := self._open.pop(path, None)) is not None:
                os.close(fd)


class Port:
    """One port.  Reads its files, and remembers those that the driver refuses.

    `name` is the device's name, with `/<number>` where the device has several ports.
    """

    def __init__(
        self, folder: Path, name: str, wanted: frozenset[str], read: Read, read_counter: Read
    ) -> None:
        self.name = name
        self.device = folder.parent.parent.name
        self.number = int(folder.name)
        self.driver = driver(self.device, folder.parent.parent.parent)
        folder = Path(os.path.realpath(folder))  # without the links of /sys/class, for each read
        self._folder = folder
        self._read = read
        self._read_counter = read_counter
        # True of rxe and siw, whose packets pass the network stack.
        self.software = not self.driver or self._text("../../node_desc").startswith(_SOFTWARE)
        self.iwarp = self._text("../../node_type").startswith(_RNIC)
        self._files = {
            counter: f"{folder}/{group}/{counter}"
            for group in _GROUPS
            for counter in _listed(folder / group)
            if counter in wanted
        }
        self.files = tuple(self._files.values())  # those that refuse, too
        self._had: set[str] = set()  # counters that could be read before

    def counters(self) -> dict[str, int]:
        """Running totals by the name of the file: those that could be read this time."""
        found = {}
        for counter, path in list(self._files.items()):
            try:
                found[counter] = int(self._read_counter(path))
                self._had.add(counter)
            except OSError as error:
                # The same errors are those of a command that the firmware failed to answer once.
                if error.errno in _NEVER_AGAIN and counter not in self._had:
                    del self._files[counter]
            except ValueError:  # "N/A (no PMA)": the device does not count
                del self._files[counter]
        return found

    def link(self) -> RdmaLink:
        """Link layer, rate and state, and the network interface of a RoCE or iWARP port."""
        layer = self._text("link_layer")
        return RdmaLink(
            layer=layer,
            rate=self._text("rate"),
            state=self._text("state").rpartition(": ")[2],
            netdev=self._netdev() if layer == "Ethernet" else None,
        )

    def _netdev(self) -> str | None:
        """The interface of the first GID that has one; unused GIDs answer EINVAL."""
        for index in range(_FEW_GIDS):
            if name := self._text(f"gid_attrs/ndevs/{index}"):
                return name
        return None

    def _text(self, name: str) -> str:
        try:
            return self._read(f"{self._folder}/{name}").strip().decode("utf-8", "backslashreplace")
        except OSError:
            return ""


class Ports:
    """All ports of this host.  `wanted` names the counters to read; `read` replaces all reads."""

    def __init__(
        self, wanted: frozenset[str], root: Path = INFINIBAND, read: Read | None = None
    ) -> None:
        self._wanted = wanted
        self._root = root
        self._kept = KeptFiles()
        self._read = read or read_file
        self._read_counter = read or self._kept
        # By folder and inode: a device that is made again under its name is another one.
        self._ports: dict[tuple[str, int], Port] = {}
        # The keys of a device's ports, and the inode and the links of their folder: kernfs counts a
        # link for each folder within it.
        self._known: dict[str, tuple[tuple[int, int], list[tuple[str, int]]]] = {}

    def close(self) -> None:
        """Give the descriptors back."""
        self._kept.close()

    def read(self) -> dict[tuple[str, int], Port]:
        """The ports that exist now, by an identity that no later port has."""
        before, self._ports = self._ports, {}
        known, self._known = self._known, {}
        # Text, not paths: this runs each interval.
        for device in _listed(self._root):
            folder = f"{self._root}/{device}/ports"
            now = _identity(folder)
            if now is None:  # unplugged just now
                continue
            seen, keys = known.get(device, (None, []))
            if now != seen:
                keys = _port_keys(device, folder)
            self._known[device] = now, keys
            for key in keys:
                self._ports[key] = before.get(key) or self._port(key, len(keys) == 1)
        for gone in before.keys() - self._ports.keys():
            self._kept.close(before[gone].files)
        return self._ports

    def _port(self, key: tuple[str, int], alone: bool) -> Port:
        device, _, number = key[0].partition("/")
        name = name_text(os.fsencode(device if alone else key[0]))
        folder = Path(self._root, device, "ports", number)
        return Port(folder, name, self._wanted, self._read, self._read_counter)


def has_devices(root: Path = INFINIBAND) -> bool:
    """True where this host has an RDMA device."""
    return bool(_listed(root))


def driver(device: str, root: Path = INFINIBAND) -> str:
    """The driver of a device; empty of software devices, whose parent is not on a bus."""
    return os.path.basename(procfs.link(root / device / "device" / "driver"))


def port_names(root: Path = INFINIBAND) -> list[str]:
    """The names of the ports of this host, as `Port.name` has them."""
    return [port.name for port in Ports(frozenset(), root).read().values()]


def _listed(folder: Path | str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _port_keys(device: str, folder: str) -> list[tuple[str, int]]:
    """Number and inode of each port of a device."""
    found = [(number, _identity(f"{folder}/{number}")) for number in _listed(folder)]
    return [(f"{device}/{number}", one[0]) for number, one in found if one and number.isdigit()]


def _identity(path: str) -> tuple[int, int] | None:
    """Inode and links of a folder; None when it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_nlink
