"""Processes in a frozen cgroup: `docker pause`, `systemctl freeze`, a container that migrates.

Their state is S or D like that of a process that waits.  cgroups(7): version 2 says it in
cgroup.events, version 1 in freezer.state.  Any user may read both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space in a path of mountinfo
_MOST_BYTES = 1 << 20


class _Mount(NamedTuple):
    """Where a hierarchy lies, and which cgroup is its topmost there."""

    root: str
    path: str


class Freezer:
    """Reads the cgroup file systems; one reading serves until `begin` is called."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._mounts: dict[str, list[_Mount]] | None = None
        self._frozen: dict[str, bool] = {}  # by the text of /proc/<pid>/cgroup

    def begin(self) -> None:
        """Forget which cgroups were frozen."""
        self._frozen.clear()

    def frozen(self, pid: int) -> bool:
        """True while `pid` cannot run because its cgroup, or one above it, is frozen.

        False, too, where the cgroup file system is not mounted or shows other cgroups.
        """
        text = _read(f"{self._proc}/{pid}/cgroup")
        known = self._frozen.get(text)
        if known is None:
            known = self._frozen[text] = any(map(self._is_frozen, text.splitlines()))
        return known

    def _is_frozen(self, line: str) -> bool:
        """A line is `hierarchy:controllers:path`; version 2 has no controllers."""
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        version2 = not controllers
        if not version2 and "freezer" not in controllers.split(","):
            return False
        if self._mounts is None:
            self._mounts = _mounts(self._proc)
        for mount in self._mounts.get("cgroup2" if version2 else "freezer", ()):
            inside = path.removeprefix(mount.root) if mount.root != "/" else path
            if ".." in inside.split("/") or not path.startswith(mount.root):
                continue
            folder = f"{mount.path}/{inside.strip('/')}"
            if version2:
                return "frozen 1" in _read(f"{folder}/cgroup.events").splitlines()
            return _read(f"{folder}/freezer.state").strip() == "FROZEN"
        return False


def _mounts(proc: Path) -> dict[str, list[_Mount]]:
    """`cgroup2` and `freezer` (version 1) to where they are mounted.  proc(5): mountinfo."""
    found: dict[str, list[_Mount]] = {}
    for line in _read(f"{proc}/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), (*after.split(), "", "", "")[:3]
        if len(fields) < 5:  # noqa: PLR2004 - the mount point is the fifth
            continue
        if kind == "cgroup" and "freezer" in options.split(","):
            kind = "freezer"
        root, path = (_ESCAPED.sub(lambda m: chr(int(m[1], 8)), field) for field in fields[3:5])
        found.setdefault(kind, []).append(_Mount(root, path))
    return found


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
