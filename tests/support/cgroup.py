"""Cgroups that a test freezes a process in: of version 2 and of version 1."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.require import require

FREEZE_S = 10.0
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
    marker = "cgroup.controllers" if version == 2 else "cgroup.procs"
    found = [top for top in _FOLDERS[version] if (top / marker).exists()]
    require(bool(found), f"no cgroup file system of version {version} with a freezer here")
    require(os.access(found[0], os.W_OK), "only root may make a cgroup")
    group = found[0] / f"xctl-test-{pid}"
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
        (found[0] / "cgroup.procs").write_text(str(pid))
        group.rmdir()
