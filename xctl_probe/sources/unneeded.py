"""The source where no metric needs one: nothing is loaded, and nothing is read."""

from __future__ import annotations

from xctl_probe.events import Batch
from xctl_probe.figures import Reading, SourceFigures

_NEVER_NS = 1 << 62


class Unneeded:
    """Source without events."""

    name = "none"
    description = "no metric of --metrics needs one"

    def fileno(self) -> int | None:
        """None: there is nothing to wait for."""
        return None

    def poll(self, now_ns: int) -> int:
        """Return a time that never comes."""
        return now_ns + _NEVER_NS

    def drain(self, now_ns: int) -> Batch:
        """Return a batch without events."""
        return Batch(now_ns, has_bytes=False)

    def figures(self) -> Reading:
        """Return figures of nothing."""
        yield
        return SourceFigures()

    def close(self) -> None:
        """Do nothing."""
