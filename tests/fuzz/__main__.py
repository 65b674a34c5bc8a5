"""`make fuzz`: every target in turn, guided by coverage, for as long as you like.

Inputs that reach new code are kept in .cache/fuzz and are where the next run begins.  Exit
code 1 when something came out that should not; the input is kept and its path is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vm.progress import Progress

from fuzz.seeds import seeds

TESTS = Path(__file__).parents[1]
CACHE = TESTS.parent / ".cache" / "fuzz"
MOST_BYTES, MOST_MIB, SLOWEST_S = 16_384, 1_024, 10
_STATUS = re.compile(rb"#(\d+).*?cov: (\d+).*?exec/s: (\d+)")
_GRACE_S = 60.0  # loading and instrumenting, at the start


def main() -> int:
    options = _options()
    names = options.targets.split(",")
    progress = Progress()
    broken = [
        name for name in names if not _fuzz(name, options.minutes * 60 / len(names), progress)
    ]
    progress.report(f"broken: {', '.join(broken)}" if broken else "nothing but clean errors")
    return int(bool(broken))


def _fuzz(name: str, seconds: float, progress: Progress) -> bool:
    corpus = CACHE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()[name]):
        (corpus / f"seed{number}").write_bytes(data)
    words = [
        *(sys.executable, "-m", "fuzz.guided", name, str(corpus)),
        f"-max_total_time={max(int(seconds), 1)}",
        f"-max_len={MOST_BYTES}", f"-rss_limit_mb={MOST_MIB}", f"-timeout={SLOWEST_S}",
        f"-artifact_prefix={CACHE}/broken-{name}-", "-print_final_stats=0",
    ]  # fmt: skip
    began_s, output, status = time.monotonic(), [], (b"0", b"0", b"0")
    process = subprocess.Popen(
        words,
        cwd=TESTS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        for line in process.stderr:
            if found := _STATUS.search(line):
                status = found.groups()
            elif not line.startswith(b"INFO:"):
                output = [*output[-60:], line.decode(errors="replace")]
            left_s = max(seconds - (time.monotonic() - began_s), 0)
            tried, covered, speed = (int(number) for number in status)
            progress.update(
                f"{name}: {tried} inputs, {speed}/s, {covered} places, {left_s:.0f} s left"
            )
        process.wait(_GRACE_S)
    progress.report(f"{'ok  ' if not process.returncode else 'FAIL'}  {name}: {tried} inputs, "
                 f"{covered} places, {time.monotonic() - began_s:.0f} s")  # fmt: skip
    if process.returncode:
        progress.report("".join(output))
    return not process.returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (%(default)s)")
    parser.add_argument("--targets", default=",".join(seeds()), help="of: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
