"""The service of the Debian package in a guest: systemd is its process 1, the kernel its own.

`make test-service`.  A container of systemd-nspawn may have no cgroup controllers; a guest has.
Debian 12, its kernel, emulated: about ten minutes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from fresh.__main__ import DEBIAN, SUITES
from fresh.root import CHECKOUT, Root
from vm import fetch, programs, suites
from vm.apt import architecture
from vm.boot import CPUS, run_in_guest
from vm.fetch import CACHE, Kernel
from vm.foreign import MACHINES, write_archive
from vm.progress import Progress

from .__main__ import HERE, INSTALL, ROOT

SUITE = "bookworm"
LIMIT_S = 1800
RESULT = "srv/guest"
UNIT = f"""[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec={LIMIT_S}
ExecStart=/bin/sh /srv/script
"""
# Emulated, a start takes 20 s of CPU, of which the unit grants a quarter.  A drop-in of the vendor:
# `systemctl revert` leaves it.
DROP_IN = "usr/lib/systemd/system/xctl-probe-network.service.d/emulated.conf"
TIME_TO_START = "[Service]\nTimeoutStartSec=900\n"
# What `run_in_guest` reads.
SCRIPT = f"""cd /{RESULT}
echo running >stage
/usr/bin/python3 {CHECKOUT}/tests/packages/limits.py >output.log 2>&1
echo $? >exit.part
journalctl --output=short-monotonic --no-pager >journal.log
mv exit.part exit
sync
"""
_INIT = Path(__file__).with_name("guest_init.sh")
# The HPET is a device: each read of the time leaves the guest.
_QEMU = ("-M", "q35", "-cpu", "max", "-m", "2G", "-nographic", "-no-reboot", "-net", "none")
# No user logs in.
_MASKED = ("getty.target", "systemd-logind.service", "e2scrub_reap.service")
_ARGUMENTS = " ".join(
    (
        "console=ttyS0 quiet mitigations=off tsc=reliable panic=-1 systemd.show_status=no",
        *(f"systemd.mask={name}" for name in _MASKED),
    )
)


def initramfs(root: Path, kernel: Kernel, at: Path) -> None:
    """Write what mounts the root: a shell, and the modules of the kernel."""
    folder = at.with_suffix(".d")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    shutil.copy(root / "bin/busybox", folder / "bin")
    shutil.copy(_INIT, folder / "init")
    (folder / "init").chmod(0o755)
    modules = Path("lib/modules", kernel.release)
    shutil.copytree(kernel.directory / modules, folder / modules)
    write_archive(folder, at)
    shutil.rmtree(folder)


def qemu(kernel: Kernel, initrd: Path, root: Path) -> list[str]:
    return [
        f"qemu-system-{MACHINES[kernel.arch]}", *_QEMU, "-smp", str(CPUS),
        "-kernel", str(kernel.image), "-initrd", str(initrd), "-append", _ARGUMENTS,
        "-virtfs", f"local,path={root},mount_tag=root,security_model=none,multidevs=remap",
    ]  # fmt: skip


def main() -> int:
    """Return 1 where the service is not as it should be."""
    progress = Progress()
    programs.ensure(progress.report, architecture())
    kernel = fetch.fetch(
        suites.choose(SUITE, fetch.held_now(progress.report, architecture())), progress.report
    )
    root = Root(SUITE, SUITES[SUITE], of_debian=SUITE in DEBIAN)
    initrd = CACHE / "service.cpio"
    try:
        root.copy((ROOT / "dist").iterdir(), HERE)
        root.run(
            f"apt-get update -qq && {INSTALL} {HERE}/*_{architecture()}.deb"
            " systemd systemd-sysv busybox-static bpftool"
        )
        drop_in = root.path / DROP_IN
        drop_in.parent.mkdir()
        drop_in.write_text(TIME_TO_START)
        root.start_at_boot(UNIT, SCRIPT)
        initramfs(root.path, kernel, initrd)
        result = root.path / RESULT
        done = run_in_guest(
            kernel,
            qemu(kernel, initrd, root.path),
            result,
            LIMIT_S,
            lambda seconds, activity: progress.update(f"{seconds:4.0f} s  {activity}"),
        )
        sys.stdout.write((result / "output.log").read_text())
        if done.exit_code:
            sys.stdout.write((result / "journal.log").read_text())
        return int(bool(done.exit_code))
    finally:
        root.remove()
        initrd.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
