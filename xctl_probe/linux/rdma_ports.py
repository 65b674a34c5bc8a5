"""The ports of the RDMA devices: counters and link, from sysfs.

Documentation/ABI/stable/sysfs-class-infiniband; drivers/infiniband/core/sysfs.c.  Example:
`<device>/ports/<number>/counters/port_xmit_data`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from xctl_probe.events import RdmaLink
from xctl_probe.linux import procfs
from xctl_probe.linux.links import name_text

INFINIBAND = Path("/sys/class/infiniband")
_GROUPS = ("counters", "counters_ext", "hw_counters")
# Restricted functions (DGX and GB200 under Fabric Manager) answer so, and the driver logs a line
# with each read: such a file is read once.  EACCES and EPERM will not change either.
_NEVER_AGAIN = frozenset((errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM))
_LARGEST_BYTES = 4096  # a file of sysfs is a page at most
# rxe_register_device(), siw_device_create().  Before 5.11 they have the driver of their interface.
_SOFTWARE = ("rxe", "Software iWARP")
_FEW_GIDS = 8  # of up to 256; the first ones are those of the interface itself

Read = Callable[[str], bytes]


def read_file(path: str) -> bytes:
    """The content of a file of sysfs.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LARGEST_BYTES)
    finally:
        os.close(fd)


class Port:
    """One port.  Reads its files, and remembers those that the driver refuses.

    `name` is the device's name, with `/<number>` where the device has several ports.
    """

    def __init__(
        self, folder: Path, name: str, wanted: frozenset[str], read: Read = read_file
    ) -> None:
        self.name = name
        self.device = folder.parent.parent.name
        self.number = int(folder.name)
        self.driver = _target(folder.parent.parent / "device" / "driver")
        self._folder = folder
        self._read = read
        self._files = {
            counter: f"{folder}/{group}/{counter}"
            for group in _GROUPS
            for counter in _listed(folder / group)
            if counter in wanted
        }

    def counters(self) -> dict[str, int]:
        """Running totals by the name of the file: those that could be read this time."""
        found = {}
        for counter, path in list(self._files.items()):
            try:
                found[counter] = int(self._read(path))
            except OSError as error:
                if error.errno in _NEVER_AGAIN:
                    del self._files[counter]
            except ValueError:  # "N/A (no PMA)": the device does not count
                del self._files[counter]
        return found

    @property
    def software(self) -> bool:
        """True of rxe and siw, whose packets pass the network stack."""
        description = self._text("../../node_desc")
        return not self.driver or description.startswith(_SOFTWARE)

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
    """All ports of this host.  `wanted` names the counters to read."""

    def __init__(
        self, wanted: frozenset[str], root: Path = INFINIBAND, read: Read = read_file
    ) -> None:
        self._wanted = wanted
        self._root = root
        self._read = read
        # By folder and inode: a device that is made again under its name is another one.
        self._ports: dict[tuple[str, int], Port] = {}

    def read(self) -> dict[tuple[str, int], Port]:
        """The ports that exist now, by an identity that no later port has."""
        before, self._ports = self._ports, {}
        for device in _listed(self._root):
            folder = self._root / device / "ports"
            numbers = [number for number in _listed(folder) if number.isdigit()]
            for number in numbers:
                inode = _inode(folder / number)
                if inode is None:  # unplugged just now
                    continue
                key = (f"{device}/{number}", inode)
                name = name_text(os.fsencode(device if len(numbers) == 1 else key[0]))
                self._ports[key] = before.get(key) or Port(
                    folder / number, name, self._wanted, self._read
                )
        return self._ports


def port_names(root: Path = INFINIBAND) -> list[str]:
    """The names of the ports of this host, as `Port.name` has them."""
    return [port.name for port in Ports(frozenset(), root).read().values()]


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _target(link: Path) -> str:
    return os.path.basename(procfs.link(link))
