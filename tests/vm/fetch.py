"""Bring kernels into the cache: `<cache>/<release>/boot/vmlinuz-…` and `…/lib/modules/…`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from . import suites
from .apt import PrivateApt
from .errors import KernelsError, UnavailableError
from .suites import Offer, Package

Report = Callable[[str], None]

REPOSITORY = Path(__file__).resolve().parents[2]
# resolved: guests have it under a root of their own, where a link would lead out of it
CACHE = Path(os.environ.get("KERNELS_CACHE", REPOSITORY / ".cache" / "kernels")).resolve()
# A suite changes a few times a month; a day's work should not ask the mirror each time.
OFFERS_AGE_S = 12 * 3600

# What a guest and the tests load.  The rest (graphics, sound, disks) is nine tenths of the
# package; depmod is content without it.
_KEPT_MODULES = re.compile(
    r"kernel/(net|lib|crypto|security|arch/x86/crypto|arch/arm64/crypto|drivers/virtio"
    r"|drivers/char|drivers/infiniband/(core|sw)"
    r"|fs/(9p|netfs|fscache|cachefiles|overlayfs|fuse)|drivers/net/netdevsim)/"
    r"|kernel/drivers/net/[^/]+$"
    r"|modules\.[a-z.]+$"
)
_FILE = re.compile(
    r"\./(?:usr/)?(?:"
    r"boot/(?P<boot>(?:vmlinuz|config)-[^/]+)"
    r"|lib/modules/(?P<release>[^/]+)/(?:(?P<kernel>vmlinuz|config)$|(?P<module>.+)))"
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache, ready to boot."""

    release: str
    series: str
    suite: str
    version: str
    directory: Path

    @property
    def image(self) -> Path:
        """The compressed kernel image."""
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def arch(self) -> str:
        """dpkg's name of its architecture, with which releases of Debian's kernels end."""
        return self.release.rpartition("-")[2]

    @property
    def headers(self) -> Path:
        """Where `--headers` unpacked linux-headers (a tree with usr/src and usr/lib)."""
        return self.directory / "headers"


def held_now(report: Report, arch: str, *, refresh: bool = False) -> list[Offer]:
    """What the suites hold, from the mirror or from an answer less than half a day old.

    Falls back to an older answer, loudly, where the mirror does not answer.
    """
    remembered = CACHE / f"offers-{arch}.json"
    fresh = remembered.exists() and time.time() - remembered.stat().st_mtime < OFFERS_AGE_S
    if fresh and not refresh:
        return _recall(remembered)
    report(f"asking the mirror what {', '.join(suites.SUITES)} hold")
    try:
        apt = _apt(arch)
        trouble = apt.update()
        held = [
            offer
            for suite in suites.SUITES
            for offer in suites.offers(suite, apt.packages(suite), arch)
        ]
        if trouble:
            report(f"WARNING: {trouble}")
        if not held:
            raise UnavailableError(trouble or "the mirror's suites hold no kernel package")
    except UnavailableError as error:
        if not remembered.exists():
            raise
        report(f"WARNING: {error}; going by an earlier answer")
        return _recall(remembered)
    remembered.write_text(json.dumps([asdict(offer) for offer in held]))
    return held


def _recall(remembered: Path) -> list[Offer]:
    return [
        Offer(
            suite=entry["suite"],
            release=entry["release"],
            version=entry["version"],
            packages=tuple(Package(**package) for package in entry["packages"]),
            headers=tuple(Package(**package) for package in entry["headers"]),
        )
        for entry in json.loads(remembered.read_text())
    ]


def fetch(offer: Offer, report: Report) -> Kernel:
    """The offered kernel, from the cache if it is there; raises UnavailableError.

    A directory without its `kernel.json` was left half-done by an interrupted run: it is made
    anew.  So is one with fewer modules than are kept now.
    """
    kernel = Kernel(
        offer.release, offer.series_text, offer.suite, offer.version, CACHE / offer.release
    )
    marker = kernel.directory / "kernel.json"
    wanted = {"version": offer.version, "suite": offer.suite, "modules": _KEPT_MODULES.pattern}
    if not marker.exists() or json.loads(marker.read_text()) != wanted:
        shutil.rmtree(kernel.directory, ignore_errors=True)
        report(f"{offer.release}: fetching {len(offer.packages)} package(s) from {offer.suite}")
        for deb in _apt(kernel.arch).download(offer.packages, kernel.directory / "debs"):
            _unpack_kernel(deb, offer.release, kernel.directory)
        if not kernel.image.exists():
            raise UnavailableError(f"{offer.release}: its packages hold no vmlinuz")
        subprocess.run(["depmod", "-b", kernel.directory, offer.release], check=True)
        shutil.rmtree(kernel.directory / "debs")
        marker.write_text(json.dumps(wanted))
    return kernel


def _apt(arch: str) -> PrivateApt:
    return PrivateApt(CACHE / "apt" / arch, suites.SUITES, arch)


def fetch_headers(offer: Offer, kernel: Kernel, report: Report) -> None:
    """The headers that bcc compiles against, below the kernel's directory.

    Raises UnavailableError: backports drop the headers of a kernel before the kernel.
    """
    marker = kernel.headers / "complete"
    if marker.exists():
        return
    if not offer.headers:
        raise UnavailableError(f"{offer.release}: {offer.suite} holds no linux-headers for it")
    shutil.rmtree(kernel.headers, ignore_errors=True)
    report(f"{offer.release}: fetching headers, {len(offer.headers)} packages")
    for deb in _apt(kernel.arch).download(offer.headers, kernel.directory / "debs"):
        subprocess.run(["dpkg-deb", "-x", deb, kernel.headers], check=True)
    shutil.rmtree(kernel.directory / "debs")
    marker.touch()


def _unpack_kernel(deb: Path, release: str, into: Path) -> None:
    """Unpack image, config and the modules worth keeping, all under boot/ and lib/modules/.

    Trixie and later hold modules under usr/lib, and 7.x the image beside them: one layout
    here, so that nothing after this has to know.
    """
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as dpkg:
        with tarfile.open(fileobj=dpkg.stdout, mode="r|") as archive:
            for member in archive:
                target = _place(member.name, release)
                content = archive.extractfile(member) if target and member.isfile() else None
                if target is None or content is None:
                    continue
                path = into / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(content, out)
        # tar streams end in padding; unread, it would break dpkg-deb's pipe
        if dpkg.stdout:
            dpkg.stdout.read()
    if dpkg.returncode:
        raise KernelsError(f"dpkg-deb could not read {deb.name}; run fetch again")


def _place(name: str, release: str) -> Path | None:
    """Where a file of the package belongs below the kernel's directory; None: not kept."""
    found = _FILE.fullmatch(name)
    if found is None or ".." in Path(name).parts:
        return None
    if boot := found["boot"]:
        return Path("boot", boot)
    if kernel := found["kernel"]:
        return Path("boot", f"{kernel}-{release}")
    if _KEPT_MODULES.match(found["module"]):
        return Path("lib", "modules", found["release"], found["module"])
    return None
