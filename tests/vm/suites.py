"""Which kernels are tested: asked of Debian's suites at the time, never pinned to a version.

A word chooses one: a suite (`bookworm`), `backports`, or a series (`6.12`).  A series is
searched in every suite, so `KERNELS=6.18` works as long as some suite holds one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import UnavailableError

SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports", "sid")
BACKPORTS = "backports"
BACKPORTED_SUITE = "trixie-backports"
DEFAULT = ("bullseye", "bookworm", "trixie", BACKPORTS, "sid")
# Backports runs on to sid's own series, which would test one kernel twice.  The long-term
# series between trixie's and sid's is the one that hosts run; where it is gone, the newest
# series older than sid's stands in.
BACKPORTS_SERIES = (6, 18)

_IMAGE = re.compile(r"linux-image-(?P<release>\d+\.\d+.*)")
_NOT_ORDINARY = re.compile(r"-(cloud|rt|dbg|unsigned)\b")  # cloud kernels carry no 9p


@dataclass(frozen=True, slots=True)
class Package:
    """One stanza of a suite's index: what is needed to download it."""

    name: str
    version: str
    depends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """A kernel that a suite holds now.  `release` is what `uname -r` will print."""

    suite: str
    release: str
    version: str
    packages: tuple[Package, ...]
    headers: tuple[Package, ...]

    @property
    def series(self) -> tuple[int, int]:
        """The first two numbers of the release: (6, 12)."""
        major, minor = self.release.split(".")[:2]
        return int(major), int(re.match(r"\d+", minor).group())  # type: ignore[union-attr]

    @property
    def series_text(self) -> str:
        """`6.12`, as KERNELS= and the table name it."""
        return "{}.{}".format(*self.series)


def _order(offer: Offer) -> tuple[int, ...]:
    """Sort key: every number of the release, so that 6.1.0-50 comes after 6.1.0-47."""
    return tuple(int(number) for number in re.findall(r"\d+", offer.release.split("+")[0]))


def offers(suite: str, packages: dict[str, Package], arch: str) -> list[Offer]:
    """The ordinary kernels among a suite's packages, oldest first.

    Up to 6.18 one package holds image and modules.  From 7.x on linux-image-V is empty and
    linux-binary-V, linux-modules-V and linux-base-V hold them; taking whichever exist serves
    both, and the split in between.
    """
    found = []
    for name, image in packages.items():
        match = _IMAGE.fullmatch(name)
        if match is None or not name.endswith(f"-{arch}") or _NOT_ORDINARY.search(name):
            continue
        release = match["release"]
        parts = [packages.get(f"linux-{part}-{release}") for part in ("binary", "modules", "base")]
        found.append(
            Offer(
                suite=suite,
                release=release,
                version=image.version,
                packages=(image, *(part for part in parts if part)),
                headers=_headers(release, packages),
            )
        )
    return sorted(found, key=_order)


def _headers(release: str, packages: dict[str, Package]) -> tuple[Package, ...]:
    """linux-headers-V with the -common and linux-kbuild packages it depends on."""
    queue, taken = [f"linux-headers-{release}"], dict[str, Package]()
    while queue:
        package = packages.get(queue.pop())
        if package is None or package.name in taken:
            continue
        taken[package.name] = package
        queue += [
            name for name in package.depends if name.startswith(("linux-headers", "linux-kb"))
        ]
    return tuple(taken.values())


def choose(word: str, held: list[Offer]) -> Offer:
    """The newest kernel that `word` means; raises UnavailableError where no suite holds one."""
    if word == BACKPORTS:
        fitting = _backports(held)
    elif word in SUITES:
        fitting = [offer for offer in held if offer.suite == word]
    else:
        fitting = [offer for offer in held if offer.series_text == word]
    if not fitting:
        known = sorted({offer.series for offer in held})
        series = ", ".join("{}.{}".format(*pair) for pair in known) or "nothing"
        raise UnavailableError(f"no suite holds a kernel for {word!r}; they hold {series}")
    return max(fitting, key=_order)


def _backports(held: list[Offer]) -> list[Offer]:
    backported = [offer for offer in held if offer.suite == BACKPORTED_SUITE]
    long_term = [offer for offer in backported if offer.series == BACKPORTS_SERIES]
    sid = max((offer.series for offer in held if offer.suite == "sid"), default=None)
    return long_term or [offer for offer in backported if sid is None or offer.series < sid]
