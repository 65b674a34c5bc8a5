"""The package and the single file on another machine: an emulated kernel and user space of arm64.

`make test-packages-arm64`.  What the package depends on is unpacked there, as all of that user
space is; root streams by the kernel source, another user by the sampler.
"""

from __future__ import annotations

import shutil
import sys

from vm import fetch, foreign, programs, run, snapshot, suites
from vm.fetch import CACHE
from vm.progress import Progress

from .__main__ import ROOT, UNPRIVILEGED, VERSION

ARCH = "arm64"
SUITE = "bookworm"
NAME = "xctl-probe-network"


def script(root: str) -> str:
    """Return what runs there: the files of the packages are below `root`."""
    lines = [f"set -e\ncd /\ndpkg-deb -x {root}/dist/{NAME}_{VERSION}_{ARCH}.deb /"]
    for command in (f"/usr/bin/{NAME}", f"/usr/bin/python3 {root}/dist/{NAME}-{VERSION}.pyz"):
        stream = f"/usr/bin/python3 {root}/tests/packages/streams.py"
        lines += [
            f'test "$({command} --version)" = "{NAME} {VERSION}"',
            f"{command} check | grep '^  ebpf '",
            f"{stream} ebpf {command}",
            f"{UNPRIVILEGED} {stream} sampler {command}",
        ]
    return "\n".join(lines)


def main() -> int:
    """Return the exit code of what ran in the guest."""
    progress = Progress()
    programs.ensure(progress.report, ARCH)
    kernel = fetch.fetch(
        suites.choose(SUITE, fetch.held_now(progress.report, ARCH)), progress.report
    )
    files = snapshot.take()
    (files.root / "dist").mkdir()
    for pattern in (f"*_{ARCH}.deb", "*.pyz"):
        for path in (ROOT / "dist").glob(pattern):
            shutil.copy(path, files.root / "dist")
    place = run.Place(files, foreign.base(ARCH, progress.report))
    shared = CACHE / "runs" / f"{kernel.release}-packages"
    command = ["bash", "-xc", script(str(files.root))]
    done = place.run(
        kernel,
        command,
        shared,
        lambda seconds, activity: progress.update(f"{seconds:4.0f} s  {activity}"),
    )
    sys.stdout.write((shared / "output.log").read_text(errors="replace"))
    return done.exit_code


if __name__ == "__main__":
    sys.exit(main())
