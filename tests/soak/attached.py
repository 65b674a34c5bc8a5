"""Which kernel programs and links a process holds, and which there are at all."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from support.require import require_tools

_HELD = re.compile(r"^(prog|link)_id:\s*(\d+)$", re.MULTILINE)


def held_by(pid: int) -> set[tuple[str, int]]:
    """(`prog` or `link`, id) of everything that this process has a descriptor of."""
    found = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = entry.read_text()
        except FileNotFoundError:  # closed meanwhile
            continue
        found |= {(kind, int(number)) for kind, number in _HELD.findall(text)}
    return found


def existing() -> set[tuple[str, int]]:
    """Every one in this kernel."""
    return {(kind, entry["id"]) for kind in ("prog", "link") for entry in _show(kind)}


def _show(kind: str) -> list[dict]:
    require_tools("bpftool")
    for _ in range(5):  # it stops at one that vanishes between its listing and its details
        words = ["bpftool", "-j", kind, "show"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
    raise AssertionError(f"bpftool {kind} show: {done.stderr or done.stdout}")
