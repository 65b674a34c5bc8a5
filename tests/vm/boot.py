"""Boot a kernel under emulation, and run a command there: on the host's own root file system, or,
of another architecture, on that of `foreign`.

The guest sees the host's files through 9p, copy-on-write: what it writes is gone with it,
except in the one shared directory.  KVM is not used, so this runs wherever QEMU does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import GuestError
from .fetch import Kernel
from .programs import search_path, vng
from .progress import Stopwatch

CPUS = 2
MEMORY = "2G"
_SETUP = Path(__file__).with_name("guest_setup.sh")
_CACHED_ROOT = "/run/cached"  # guest_setup.sh knows it, too
_GRACE_S = 10.0  # QEMU's own end, after SIGTERM
# A boot takes a minute or two.  On a busy host an emulated 5.10 was seen to hang in one, before its
# first driver, for as long as it was let.
_BOOT_S = 600.0
_BOOTS = 2
_SAMPLE_S = 0.5

Watch = Callable[[float, str], None]

_running = list["subprocess.Popen[bytes]"]()


@dataclass(frozen=True, slots=True)
class GuestRun:
    """A command that ran in a guest to its end: its exit code, and seconds with the boot."""

    exit_code: int
    seconds: float


def run_in_guest(
    kernel: Kernel,
    argv: Sequence[str],
    shared: Path,
    limit_s: float,
    watch: Watch,
) -> GuestRun:
    """Boot a guest by `argv`: it leaves its result in `shared`, the directory it may write to.

    Leaves console.log (kernel messages) and output.log (the command's output) in `shared`.
    `watch` is called about twice a second with the seconds so far and the last line of output.
    One that does not boot is started again, once.
    Raises GuestError where the guest panicked, did not boot, or did not end within `limit_s`.
    """
    clock = Stopwatch()
    for _ in range(_BOOTS):
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir(parents=True)
        if not _hangs_in_boot(argv, shared, clock, limit_s, watch):
            break
    result = shared / "exit"
    if not result.exists():
        raise GuestError(_why(kernel, shared, clock.seconds, limit_s))
    return GuestRun(int(result.read_text()), clock.seconds)


def _hangs_in_boot(
    argv: Sequence[str], shared: Path, clock: Stopwatch, limit_s: float, watch: Watch
) -> bool:
    """Run a guest to its end, or until `limit_s`; true where it should have booted long ago."""
    env = {**os.environ, "PATH": search_path()}
    # A pipe, because QEMU opens /proc/self/fd/1 anew for every port and would truncate a file.
    guest = subprocess.Popen(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that ending it stops QEMU, and no other process
    )
    _running.append(guest)
    assert guest.stdout is not None
    copier = threading.Thread(
        target=_copy, args=(guest.stdout, shared / "console.log"), daemon=True
    )
    copier.start()
    try:
        return _wait(guest, shared, clock, limit_s, watch)
    finally:
        _end(guest)
        _running.remove(guest)
        copier.join(_GRACE_S)


def on_these_files(kernel: Kernel, command: Sequence[str], shared: Path) -> list[str]:
    """Return what boots a kernel of this architecture, to run a command as root."""
    inside = [str(_SETUP), str(shared), *command]
    return [
        *(vng(), "--disable-kvm", "--verbose", "--run", str(kernel.image)),
        # The HPET, which the guest takes otherwise, is a device: each read of the time leaves it.
        *("--append", "tsc=reliable mitigations=off"),
        *("--user", "root", "--memory", MEMORY, "--cpus", str(CPUS), "--rwdir", str(shared)),
        f"--rodir={_CACHED_ROOT}=/",
        "--",
        f"KERNEL_HEADERS={shlex.quote(str(kernel.headers))} exec bash {shlex.join(inside)}",
    ]


def end_all() -> None:
    """End every guest that runs, from whatever thread: their threads report how they ended."""
    for guest in list(_running):
        _end(guest)


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb", buffering=0) as out:
        while chunk := source.read(1):
            out.write(chunk + source.read1())  # type: ignore[attr-defined]


def _wait(
    guest: subprocess.Popen[bytes], shared: Path, clock: Stopwatch, limit_s: float, watch: Watch
) -> bool:
    boot_by = clock.seconds + _BOOT_S
    while guest.poll() is None and clock.seconds < limit_s:
        if clock.seconds >= boot_by and not (shared / "stage").exists():
            return True
        watch(clock.seconds, _activity(shared))
        if (shared / "exit").exists():
            limit_s = min(limit_s, clock.seconds + _GRACE_S)  # only powering off is left
        time.sleep(_SAMPLE_S)
    return False


def _activity(shared: Path) -> str:
    if not (shared / "stage").exists():
        return "booting"
    try:
        lines = (shared / "output.log").read_bytes()[-400:].decode(errors="replace").split("\n")
    except FileNotFoundError:
        return "started"
    return next((line for line in reversed(lines) if line.strip()), "started")


def _end(guest: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if guest.poll() is not None:
            return
        with suppress(ProcessLookupError):  # another thread may end it, too
            os.killpg(guest.pid, number)
        try:
            guest.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _why(kernel: Kernel, shared: Path, seconds: float, limit_s: float) -> str:
    console = (shared / "console.log").read_text(errors="replace").splitlines()
    panic = next((line.strip() for line in console if "Kernel panic" in line), None)
    if panic:
        what = panic
    elif not (shared / "stage").exists():
        what = "did not boot"
    elif seconds >= limit_s:
        what = f"was still at {_activity(shared)!r} after {limit_s:.0f} s"
    else:
        what = "ended without a result"
    return f"{kernel.release}: {what}; see {shared / 'console.log'}"
