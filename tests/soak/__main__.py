"""`make soak`: churn and soak by hand, as long and as heavy as you like.

Each source that works here watches the same crowd, in a network namespace of its own.  Exit
code 1 when a promise was not kept.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.backends import KNOWN
from support.install import install
from vm.progress import Progress

from soak.run import Outcome, run

# Each as long as --minutes, one after the other.
MIXES = {
    "churn": {"churners": 2, "churn_per_s": 340.0},
    "sockets": {"holders": 10, "connections": 5_000, "exchanges_per_s": 100.0},
    "processes": {"processes": 1_000, "talk_s": 5.0},
    "mix": {
        "holders": 10, "connections": 4_000, "exchanges_per_s": 50.0,
        "processes": 1_000, "talk_s": 10.0,
        "churners": 2, "churn_per_s": 100.0, "short_lived_per_s": 5.0,
    },
}  # fmt: skip


def main() -> int:
    options = _options()
    progress = Progress()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    backends = [one for one in KNOWN if one.name in options.sources.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="xctl-soak-", dir="/tmp"))
    folder.chmod(0o755)
    kept = True
    try:
        progress.update("the probe is installed")
        installed = install(folder)
        for name in options.mixes.split(","):
            progress.report(f"== {name}: {options.minutes:g} minutes, {MIXES[name]}")
            outcomes = run(
                installed, backends, MIXES[name], seconds=options.minutes * 60,
                emit=progress.update,
            )  # fmt: skip
            for outcome in outcomes:
                _report(progress, outcome)
                kept &= all(verdict.kept for verdict in outcome.verdicts)
    finally:
        progress.clear()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if kept else 1


def _report(progress: Progress, outcome: Outcome) -> None:
    memory = f"{outcome.idle_mib:.1f} MiB before the load, {outcome.peak_mib:.1f} at most"
    longest = f"intervals of up to {outcome.longest_interval_ms} ms"
    progress.report(f"{outcome.source}: {outcome.cpu_share:.1%} of a core; {memory}; {longest}")
    for verdict in outcome.verdicts:
        progress.report(f"  {verdict}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of each mix (%(default)s)")
    parser.add_argument("--mixes", default=",".join(MIXES), help="of: %(default)s")
    parser.add_argument("--sources", default=",".join(one.name for one in KNOWN))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
