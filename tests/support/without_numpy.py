"""The command where NumPy is not installed."""

from __future__ import annotations

import subprocess
import sys

_CODE = "import sys; sys.modules['numpy'] = None; from xctl_probe.cli import main; main()"


def run_without_numpy(*words: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: modules that are imported twice would confuse later tests."""
    return subprocess.run(
        [sys.executable, "-c", _CODE, *words], capture_output=True, text=True, check=False
    )
