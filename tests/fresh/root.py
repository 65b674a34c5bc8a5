"""A clean root file system with a copy of this checkout, and shell commands run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from vm.apt import system_mirror
from vm.errors import UnavailableError

from .pip import THERE, settings

CHECKOUT = "/srv/checkout"
_HERE = Path(__file__).parents[2]
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "xctl-probe-network/fresh"
_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_UBUNTU_KEYS = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
_BASE_AGE_S = 30 * 86_400
# Mounts end with the namespace, and processes with its first one.
_ISOLATED = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_INSIDE = """
set -e
root=$1 apt=$2 pip=$3 there=$4; shift 4
mount -t proc proc "$root/proc"
for path in /dev /sys; do mount --rbind "$path" "$root$path"; done
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind "$apt" "$root/var/cache/apt/archives"
mkdir -p "$root/var/cache/pip"
mount --bind "$pip" "$root/var/cache/pip"
while [ "$1" != -- ]; do
    at=$root$there$1
    if [ -d "$1" ]; then mkdir -p "$at"; else mkdir -p "${at%/*}"; touch "$at"; fi
    mount --bind "$1" "$at"
    shift
done
exec chroot "$root" /bin/sh -ec "$2"
"""

_BOOTED = "xctl-test"
_BOOTED_S = 120
_UNIT = """[Unit]
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
TimeoutStartSec=90
ExecStart=/bin/sh /srv/script
ExecStart=/bin/touch /srv/passed
StandardOutput=file:/srv/output
StandardError=inherit
"""


class Unavailable(Exception):
    """The archive, or what reads it, cannot be had here."""


class Root:
    """Made from the cache where it is warm.  Raises Unavailable."""

    def __init__(self, suite: str, components: str, *, of_debian: bool) -> None:
        if os.geteuid():
            raise Unavailable("it needs root")
        self._cache = _CACHE / suite
        self._cache.mkdir(parents=True, exist_ok=True)
        for folder in ("debs/partial", "pip"):
            (self._cache / folder).mkdir(parents=True, exist_ok=True)
        base = self._cache / "base.tar"
        if not base.exists() or time.time() - base.stat().st_mtime > _BASE_AGE_S:
            self._bootstrap(base, suite, components, of_debian=of_debian)
        self._path = Path(tempfile.mkdtemp(prefix=f"xctl-fresh-{suite}-"))
        _require("tar", "-xf", base, "-C", self._path)
        self._path.chmod(0o755)  # apt's own user reads below it
        self._copy_checkout()
        self._pip, self._pip_reads = settings()

    def run(self, script: str, *, capture: bool = False) -> str:
        """The output, where asked for.  Raises AssertionError where it fails."""
        print(f"---- {script}", flush=True)
        apt, pip = self._cache / "debs", self._cache / "pip"
        command = [*_ISOLATED, "sh", "-c", _INSIDE, "sh", self._path, apt, pip, THERE]
        done = subprocess.run(
            [*map(str, command), *self._pip_reads, "--", script],
            env=self._environment(), stdout=subprocess.PIPE if capture else None, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        output = done.stdout or ""
        assert done.returncode == 0, f"exit code {done.returncode}: {script}\n{output}"
        return output

    def copy(self, sources: Iterable[Path], folder: str) -> None:
        """Copy files into a folder of the root, made where it is missing."""
        there = Path(f"{self._path}{folder}")
        there.mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy2(source, there)

    def boot(self, script: str) -> str:
        """The output of a script under systemd as process 1, which exits after it.

        The network and the kernel are the host's.  Raises AssertionError where the script fails.
        """
        self.start_at_boot(_UNIT, f"set -e\n{script}\n")
        print(f"---- booted: {script}", flush=True)
        command = (
            "systemd-nspawn", "--quiet", f"--directory={self._path}", "--register=no",
            "--keep-unit", "--console=pipe", "--capability=all",
            "--system-call-filter=bpf perf_event_open", "--boot",
        )  # fmt: skip
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_BOOTED_S, check=False,
        )  # fmt: skip
        output = (self._path / "srv/output").read_text()
        assert (self._path / "srv/passed").exists(), output
        return output

    def start_at_boot(self, unit: str, script: str) -> None:
        """Let systemd start a unit, whose script is /srv/script."""
        place = self._path / f"etc/systemd/system/{_BOOTED}.service"
        place.write_text(unit)
        wanted = place.with_name("multi-user.target.wants") / place.name
        wanted.parent.mkdir(exist_ok=True)
        wanted.symlink_to(f"../{place.name}")
        (self._path / "srv/script").write_text(script)

    @property
    def path(self) -> Path:
        """Where it is on this machine."""
        return self._path

    def remove(self) -> None:
        """The file system; the cache stays."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
        required = {k: v for k, v in os.environ.items() if k == "XCTL_TEST_REQUIRE"}
        return proxies | required | self._pip | {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "LC_ALL": "C.UTF-8", "PIP_CACHE_DIR": "/var/cache/pip",
            "DEBIAN_FRONTEND": "noninteractive",
        }  # fmt: skip

    def _bootstrap(self, base: Path, suite: str, components: str, *, of_debian: bool) -> None:
        words: list[object] = ["--variant=minbase", f"--components={components}"]
        words.append(f"--cache-dir={self._cache / 'debs'}")
        script = [] if (_SCRIPTS / suite).exists() else [_SCRIPTS / "gutsy"]
        mirror = ""  # the script's own
        if of_debian:
            try:
                mirror = system_mirror()
            except UnavailableError as reason:
                raise Unavailable(str(reason)) from None
        elif not _UBUNTU_KEYS.exists():
            raise Unavailable(f"no keys of Ubuntu's archive ({_UBUNTU_KEYS}): ubuntu-keyring")
        else:
            words.append(f"--keyring={_UBUNTU_KEYS}")
        with tempfile.TemporaryDirectory(prefix=f"xctl-fresh-{suite}-") as folder:
            print(f"---- debootstrap {suite}", flush=True)
            command = ["debootstrap", *words, suite, folder, mirror, *script]
            done = subprocess.run(
                [*map(str, command)], capture_output=True, text=True, check=False
            )  # fmt: skip
            if done.returncode:
                last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
                raise Unavailable(f"debootstrap: {last}")
            _require("tar", "-cf", f"{base}.part", "-C", folder, ".")
        Path(f"{base}.part").replace(base)

    def _copy_checkout(self) -> None:
        """Tracked files, and new ones that are not ignored: as they are now."""
        there = Path(f"{self._path}{CHECKOUT}")
        there.mkdir(parents=True)
        wanted = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = subprocess.run(wanted, cwd=_HERE, stdout=subprocess.PIPE, check=True).stdout
        for name in filter(None, names.decode().split("\0")):
            if (_HERE / name).exists():
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(_HERE / name, there / name, follow_symlinks=False)


def _require(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True)
