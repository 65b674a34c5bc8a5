"""Names of interfaces, as far as the probe can know them."""

from __future__ import annotations

from xctl_probe.linux.links import name_of
from xctl_probe.linux.procfs import namespace_inode


class IfindexNames:
    """ifindex to name within the probe's own network namespace; None for every other one."""

    def __init__(self) -> None:
        self._netns = namespace_inode("net")
        self._names: dict[int, str | None] = {}

    def forget(self) -> None:
        """Ask the kernel again: an interface may have been renamed or replaced."""
        self._names.clear()

    def name(self, ifindex: int, netns: int) -> str | None:
        """The interface's name, None where it is unknown or gone."""
        if not ifindex or netns != self._netns:
            return None
        try:
            return self._names[ifindex]
        except KeyError:
            name = self._names[ifindex] = name_of(ifindex)
            return name
