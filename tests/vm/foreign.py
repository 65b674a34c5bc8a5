"""A user space of another architecture for its kernels: Debian's packages, and wheels of PyPI.

No program of it can run here, so packages are unpacked without their scripts.  The guest has all
of it in memory, as an initramfs: archives that follow each other are unpacked one over the other
(Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from .apt import system_mirror
from .errors import UnavailableError
from .fetch import CACHE, REPOSITORY, Kernel, Report
from .snapshot import Snapshot

SUITE = "bookworm"
PYTHON = "3.11"  # that suite's
# dpkg's name of an architecture to that of uname(1).
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_PACKAGES = "python3,iproute2,nftables,util-linux,kmod,procps,libbpf1"
_TESTS = ("pytest", "pytest-timeout", "fastjsonschema", "jsonschema", "hypothesis")
_UNUSED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "debootstrap", "var/cache/apt")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "usr/bin/xctl-probe-network": "#!/usr/bin/python3\nimport sys\n"
    "from xctl_probe.start import main\nsys.exit(main())\n",
}
_PLACE = "usr/lib/python3/dist-packages"
_INIT = Path(__file__).with_name("foreign_init.sh")
_SETUP = Path(__file__).with_name("guest_mounts.sh")
_QEMU = ("-M", "virt,gic-version=3", "-cpu", "cortex-a72", "-m", "3G", "-nographic", "-no-reboot")
_ARGUMENTS = "console=ttyAMA0 rdinit=/init quiet mitigations=off panic=-1"


def base(arch: str, report: Report) -> Path:
    """Return the archive of the user space, made where there is none.  Raises UnavailableError."""
    wanted = _requirements()
    key = hashlib.sha256(repr((wanted, _PACKAGES, _UNUSED, _FILES, SUITE)).encode()).hexdigest()
    archive = CACHE / f"user-space-{arch}-{key[:12]}.cpio"
    if archive.exists():
        return archive
    report(f"{arch}: making a user space of {SUITE}, a few minutes")
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob(f"user-space-{arch}-*"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder)
        mirror = system_mirror()
        _call("debootstrap", f"--arch={arch}", "--foreign", "--variant=minbase",
              f"--include={_PACKAGES}", SUITE, root, mirror)  # fmt: skip
        for deb in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            _call("dpkg-deb", "-x", deb, root)
        _call(*_pip(MACHINES[arch]), "--target", root / _PLACE, *wanted)
        for name in _UNUSED:
            shutil.rmtree(root / name, ignore_errors=True)
        for name, text in _FILES.items():
            (root / name).write_text(text)
        (root / "usr/bin/xctl-probe-network").chmod(0o755)
        shutil.copy(_INIT, root / "init")
        (root / "init").chmod(0o755)
        write_archive(root, archive)
    return archive


def _pip(machine: str) -> list[str]:
    forms = [f"--platform=manylinux{form}_{machine}" for form in ("2014", "_2_17", "_2_28")]
    options = ["-q", "--disable-pip-version-check", "--only-binary=:all:", *forms]
    own = [f"--python-version={PYTHON}", "--implementation=cp", "--platform=any"]
    return [sys.executable, "-m", "pip", "install", *options, *own]


def _requirements() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *_TESTS]


def initramfs(archive: Path, kernel: Kernel, snapshot: Snapshot, command: str, at: Path) -> None:
    """Write the user space, and after it what is of this run, to `at`."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder)
        modules = Path("lib/modules", kernel.release)
        shutil.copytree(kernel.directory / modules, root / modules)
        shutil.copytree(snapshot.root, root / snapshot.root.relative_to("/"))
        shutil.copy(_SETUP, root / "mounts")
        (root / "command").write_text(command)
        write_archive(root, at.with_suffix(".run"))
    with at.open("wb") as whole:
        for part in (archive, at.with_suffix(".run")):
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
    at.with_suffix(".run").unlink()


def qemu(kernel: Kernel, initrd: Path, shared: Path, cpus: int) -> list[str]:
    """Return the command that boots it; the guest has `shared` at the same path."""
    return [
        f"qemu-system-{MACHINES[kernel.arch]}", *_QEMU, "-smp", str(cpus), "-net", "none",
        "-kernel", str(kernel.image), "-initrd", str(initrd),
        "-append", f"{_ARGUMENTS} xctl_shared={shared}",
        "-virtfs", f"local,path={shared},mount_tag=shared,security_model=none",
    ]  # fmt: skip


def write_archive(root: Path, at: Path) -> None:
    root.chmod(0o755)  # also for users other than root
    part = at.with_suffix(".part")
    with (
        part.open("wb") as out,
        subprocess.Popen(
            ["find", ".", "-xdev", "-print0"], cwd=root, stdout=subprocess.PIPE
        ) as names,
    ):
        done = subprocess.run(
            ["cpio", "-0", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
            cwd=root, stdin=names.stdout, stdout=out, check=False,
        )  # fmt: skip
    if done.returncode:
        raise UnavailableError(f"cpio could not write {at}")
    part.replace(at)


def _call(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
        raise UnavailableError(f"{command[0]}: {last}")
