"""Cgroups that a test puts a process in, or freezes it in: of version 2 and of version 1."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.require import require

FREEZE_S = 45.0  # only where a test fails
_FOLDERS = {
    2: (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")),
    1: (Path("/sys/fs/cgroup/freezer"),),
}
_SWITCH = {2: "cgroup.freeze", 1: "freezer.state"}
_ON, _OFF = {2: "1", 1: "FROZEN"}, {2: "0", 1: "THAWED"}
_SHOWS = {2: ("cgroup.events", "frozen 1"), 1: ("freezer.state", "FROZEN")}


@contextmanager
def frozen(pid: int, version: int) -> Iterator[None]:
    """Freeze `pid` in a cgroup of its own; it is thawed, and back at the top, afterwards."""
    top = _top(version)
    group = top / f"xctl-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / _SWITCH[version]).write_text(_ON[version])
        name, line = _SHOWS[version]
        deadline = time.monotonic() + FREEZE_S
        while line not in (group / name).read_text().splitlines():
            assert time.monotonic() < deadline, "it does not freeze"
            time.sleep(0.01)
        yield
    finally:
        (group / _SWITCH[version]).write_text(_OFF[version])
        (top / "cgroup.procs").write_text(str(pid))
        group.rmdir()


@contextmanager
def within(path: str, version: int) -> Iterator[Callable[[int], None]]:
    """Make a cgroup, below one of the test's own, that a process can be put in by its pid.

    Those that are still in it are at the top afterwards.
    """
    top = _top(version)
    own = f"xctl-test-{os.getpid()}-{time.monotonic_ns()}"
    parts = (own, *path.strip("/").split("/"))
    groups = [top.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
    for group in groups:
        group.mkdir()
    try:
        yield lambda pid: _put(groups[-1], pid)
    finally:
        for pid in (groups[-1] / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it may exit meanwhile
                _put(top, int(pid))
        for group in reversed(groups):
            _remove(group)


def _put(group: Path, pid: int) -> None:
    (group / "cgroup.procs").write_text(str(pid))


def _remove(group: Path) -> None:
    """Remove a cgroup, once the kernel has finished with the processes that exited in it."""
    deadline = time.monotonic() + FREEZE_S
    while True:
        try:
            group.rmdir()
        except OSError:
            assert time.monotonic() < deadline, f"{group} cannot be removed"
            time.sleep(0.01)
        else:
            return


def _top(version: int) -> Path:
    marker = "cgroup.controllers" if version == 2 else "cgroup.procs"
    found = [top for top in _FOLDERS[version] if (top / marker).exists()]
    require(bool(found), f"no cgroup file system of version {version} with a freezer here")
    require(os.access(found[0], os.W_OK), "only root may make a cgroup")
    return found[0]
