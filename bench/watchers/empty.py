"""Lower limit of the cost: empty programs at the probe's hooks.

`python -m bench.watchers.empty VARIANT` attaches those of one attach variant until it is stopped.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.traffic.programs import build_folder
from bench.watchers import Watcher
from xctl_probe.ebpf.bpf_object import open_object
from xctl_probe.ebpf.libbpf import BpfError, Library

_SOURCE = Path(__file__).with_name("empty.bpf.c")
_PROGRAM = re.compile(r'^HOOK\("[^"]+", (\w+)\)$', re.MULTILINE)


def main() -> None:
    """Attach, print "ready", and wait to be stopped."""
    variant, image = sys.argv[1], Path(sys.argv[2])
    names = _PROGRAM.findall(_SOURCE.read_text())
    wanted = [name for name in names if name.startswith(variant)]
    library = Library()
    with open_object(library, image.read_bytes()) as programs:
        for name in set(names) - set(wanted):
            programs.skip(name)
        try:
            programs.load()
            for name in wanted:
                programs.attach(name)
        except BpfError:
            library.report(print)
            raise
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})


def _command(variant: str) -> list[str]:
    image = build_folder() / "empty.bpf.o"
    if not image.exists():
        words = ["clang-14", "-target", "bpf", "-O2", "-g", "-c", str(_SOURCE), "-o", str(image)]
        subprocess.run(words, check=True)
    return [sys.executable, "-m", "bench.watchers.empty", variant, str(image)]


def _empty(name: str, variant: str, what: str) -> Watcher:
    return Watcher(name, what, partial(_command, variant), b"ready", needs=("clang-14",))


EMPTY, EMPTY_KPROBE, EMPTY_FENTRY = (
    _empty(name, variant, f"programs that do nothing, the {variant} variant's hooks")
    for name, variant in (
        ("empty", "tracepoint"),
        ("empty-kprobe", "kprobe"),
        ("empty-fentry", "fentry"),
    )
)

if __name__ == "__main__":
    main()
