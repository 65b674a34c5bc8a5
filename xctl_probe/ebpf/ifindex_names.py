"""Names of interfaces of the probe's own network namespace."""

from __future__ import annotations

from xctl_probe.linux.links import name_of
from xctl_probe.linux.procfs import namespace_inode


class IfindexNames:
    """Names by ifindex in the probe's own network namespace; None for others."""

    def __init__(self) -> None:
        self._netns = namespace_inode("net")
        self._names: dict[int, str | None] = {}

    def forget(self) -> None:
        """Clear the cache: an interface may have been renamed or replaced."""
        self._names.clear()

    def name(self, ifindex: int, netns: int) -> str | None:
        """Return the name of the interface, None where it is unknown or gone."""
        if not ifindex or netns != self._netns:
            return None
        try:
            return self._names[ifindex]
        except KeyError:
            name = self._names[ifindex] = name_of(ifindex)
            return name
