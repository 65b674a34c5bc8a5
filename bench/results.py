"""docs/bench/results.json: everything that was measured, and on what."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from bench.place import DOCS

PATH = DOCS / "results.json"

Results = dict[str, Any]  # NATIVE and GUEST to what was measured there

NATIVE, GUEST = "native", "guest"


def host() -> dict[str, object]:
    """What it was measured on."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in info if "model name" in line), "unknown")
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cpu": model,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def load(path: Path = PATH) -> Results:
    """What is stored, by part; empty where nothing is."""
    found: Results = json.loads(path.read_text()) if path.exists() else {}
    return found


def store(part: str, measured: dict[str, Any], path: Path = PATH) -> None:
    """Put what was measured in place of what is stored, section by section."""
    results = load(path)
    kept = results.setdefault(part, {})
    workloads = {**kept.get("workloads", {}), **measured.get("workloads", {})}
    kept.update(measured)
    kept["workloads"] = workloads
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
