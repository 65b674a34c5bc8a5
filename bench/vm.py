"""The same in a virtual machine, where there are kprobes and trampolines: only ratios count.

Code is emulated there, five to twenty times slower, and a system call costs more of it than
a program: what is compared has run in the same guest, in turn.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import sys
from pathlib import Path

from bench.place import CHECKOUT
from bench.progress import Progress
from bench.results import GUEST, load, store
from tests.vm import fetch, programs, snapshot, suites
from tests.vm.apt import architecture
from tests.vm.boot import on_these_files, run_in_guest
from tests.vm.errors import KernelsError

_DEFAULT_KERNEL = "6.1"
_LIMIT_S = 3600.0


def measure(options: argparse.Namespace, progress: Progress) -> int:
    """Boot the kernel that KERNELS names, measure in it, and take its results over."""
    arch = architecture()
    programs.ensure(progress.report, arch)
    try:
        offer = suites.choose(
            os.environ.get("KERNELS", _DEFAULT_KERNEL), fetch.held_now(progress.report, arch)
        )
        kernel = fetch.fetch(offer, progress.report)
        fetch.fetch_headers(offer, kernel, progress.report)
        copy = snapshot.take()
        shutil.copytree(CHECKOUT / "bench", copy.root / "bench", dirs_exist_ok=True)
        compileall.compile_dir(copy.root / "bench", quiet=1)
        shared = fetch.CACHE / "runs" / f"{kernel.release}-bench"
        command = _command(options, copy, shared)
        done = run_in_guest(
            kernel, on_these_files(kernel, command, shared), shared, _LIMIT_S,
            lambda seconds, step: progress.update(f"{kernel.release}  {seconds:4.0f} s  {step}"),
        )  # fmt: skip
    except KernelsError as error:
        progress.report(f"ERROR: {error}")
        return 1
    progress.report((shared / "output.log").read_text(errors="replace"))
    if done.exit_code == 0:
        store(GUEST, load(shared / "results.json")[GUEST], options.results)
    return done.exit_code


def _command(options: argparse.Namespace, copy: snapshot.Snapshot, shared: Path) -> list[str]:
    return [
        "env", f"--chdir={copy.root}", f"PYTHONPATH={copy.packages}",
        sys.executable, "-m", "bench", "--guest", "--parts=compare",
        f"--results={shared / 'results.json'}",
        f"--rounds={options.rounds}", f"--seconds={options.seconds}",
        f"--workloads={','.join(options.workloads)}", f"--watchers={','.join(options.watchers)}",
    ]  # fmt: skip
