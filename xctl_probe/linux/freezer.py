"""Processes in a frozen cgroup: `docker pause`, `systemctl freeze`, a container that migrates.

Their state is S or D, as of a process that waits.  cgroups(7): version 2 shows it in cgroup.events,
version 1 in freezer.state.  Any user may read both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from xctl_probe.linux.procfs import text as read_text

_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space in a path of mountinfo


class _Mount(NamedTuple):
    """Mount point of a hierarchy, and the cgroup at its root there."""

    root: str
    path: str

    def inside(self, path: str) -> str | None:
        """Return the path of a cgroup below the root, None where the mount does not show it."""
        root = self.root.rstrip("/")
        return path[len(root) :] if f"{path}/".startswith(f"{root}/") else None


class Freezer:
    """Reads the cgroup file systems; results are cached until `begin` is called."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._mounts: dict[str, list[_Mount]] | None = None
        self._frozen: dict[str, bool] = {}  # by the text of /proc/<pid>/cgroup

    def begin(self) -> None:
        """Start a sample: clear the cache."""
        self._frozen.clear()

    def frozen(self, pid: int) -> bool:
        """True while the cgroup of `pid`, or one above it, is frozen.

        False where the cgroup file system is not mounted or shows other cgroups.
        """
        text = read_text(f"{self._proc}/{pid}/cgroup")
        known = self._frozen.get(text)
        if known is None:
            # Not splitlines: a name may have any of the other characters that end a line in Python.
            known = self._frozen[text] = any(map(self._is_frozen, text.split("\n")))
        return known

    def _is_frozen(self, line: str) -> bool:
        """True where the cgroup of a line `hierarchy:controllers:path` is frozen.

        Version 2 has no controllers.
        """
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        version2 = not controllers
        if not version2 and "freezer" not in controllers.split(","):
            return False
        if self._mounts is None:
            self._mounts = _mounts(self._proc)
        for mount in self._mounts.get("cgroup2" if version2 else "freezer", ()):
            inside = mount.inside(path)
            if inside is None or ".." in inside.split("/"):
                continue
            folder = f"{mount.path}/{inside.strip('/')}"
            if version2:
                return "frozen 1" in read_text(f"{folder}/cgroup.events").splitlines()
            return read_text(f"{folder}/freezer.state").strip() == "FROZEN"
        return False


def _mounts(proc: Path) -> dict[str, list[_Mount]]:
    """Mounts of `cgroup2` and `freezer` (version 1).  proc(5): mountinfo."""
    found: dict[str, list[_Mount]] = {}
    for line in read_text(f"{proc}/self/mountinfo").split("\n"):
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), (*after.split(" "), "", "", "")[:3]
        if len(fields) < 5:  # noqa: PLR2004 - the mount point is the fifth
            continue
        if kind == "cgroup" and "freezer" in options.split(","):
            kind = "freezer"
        root, path = (_ESCAPED.sub(lambda m: chr(int(m[1], 8)), field) for field in fields[3:5])
        found.setdefault(kind, []).append(_Mount(root, path))
    return found
