"""The BPF programs and links of the kernel, and which of them a process holds."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.require import require, require_tools

_LISTINGS = 10
_PROGRAM = re.compile(r"^prog_id:\s*(\d+)$", re.MULTILINE)


def listed(what: str) -> list[dict[str, Any]]:
    """All of these: `prog` or `link`.

    bpftool gives up where one goes away while it lists, as others load and unload theirs.
    """
    require_tools("bpftool")
    for _ in range(_LISTINGS):
        done = subprocess.run(["bpftool", "-j", what, "show"], capture_output=True, check=False)
        if not done.returncode:
            break
    require(not done.returncode, f"bpftool cannot list: {(done.stderr or done.stdout).decode()}")
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def loaded_programs() -> set[int]:
    """Identities of all programs in the kernel: other probes load and unload theirs meanwhile."""
    return {program["id"] for program in listed("prog")}


def programs_of(pid: int) -> set[int]:
    """Identities of the programs that a process holds."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # it reads files of others, and closes them
            found |= {int(number) for number in _PROGRAM.findall(file.read_text())}
    return found


def names_of(pid: int) -> list[str]:
    """The names of these."""
    held = programs_of(pid)
    return [program["name"] for program in listed("prog") if program["id"] in held]
