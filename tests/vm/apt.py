"""A private apt: foreign suites from this machine's own mirror, without touching its apt.

Nothing here needs root.  Mirror, key, proxy and credentials are those of the system's apt
configuration: apt.conf(5), sources.list(5), `apt-get indextargets` of apt-get(8).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import UnavailableError
from .suites import Package

# Keyrings that carry Debian's archive keys, for a host whose sources name none.
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_NO_MIRROR = (
    "apt has no Debian mirror set up that kernels could come from; "
    "add a Debian source (sources.list(5)) or set KERNELS_MIRROR to one's address"
)


def _run(argv: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        trouble = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise UnavailableError(f"{argv[0]} {argv[1]}: {' '.join(trouble) or done.stderr.strip()}")
    return done.stdout


def architecture() -> str:
    """dpkg's name for this machine: `amd64`, `arm64`."""
    return _run(["dpkg", "--print-architecture"]).strip()


def system_mirror() -> str:
    """The address of the Debian mirror that the system's apt uses (KERNELS_MIRROR overrides).

    Raises UnavailableError where there is none.
    """
    if named := os.environ.get("KERNELS_MIRROR"):
        return named
    listed = _run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(LABEL)|$(RELEASE)|$(COMPONENT)"]
    )
    entries = [line.split("|") for line in listed.splitlines()]
    # The label is known once lists were fetched; before that, the main archive is the one
    # whose path has the suffix /debian.
    for uri, label, release, component in entries:
        plain = "-" not in release  # not -security, -updates, -backports
        if (
            plain
            and component == "main"
            and (label == "Debian" or uri.rstrip("/").endswith("/debian"))
        ):
            return uri
    raise UnavailableError(_NO_MIRROR)


class PrivateApt:
    """apt with sources, lists and cache of its own below `root`."""

    def __init__(self, root: Path, suites: Iterable[str], arch: str) -> None:
        self._root = root
        self._arch = arch
        self._conf = root / "apt.conf"
        for name in ("state/lists/partial", "cache/archives/partial", "sources.d"):
            (root / name).mkdir(parents=True, exist_ok=True)
        signed = next((f"Signed-By: {path}\n" for path in _KEYRINGS if path.exists()), "")
        (root / "sources.d" / "kernels.sources").write_text(
            f"Types: deb\nURIs: {system_mirror()}\nSuites: {' '.join(suites)}\n"
            f"Components: main\n{signed}"
        )
        self._conf.write_text(self._configuration())

    def _configuration(self) -> str:
        """The system's Acquire settings (proxies, timeouts) over directories of our own."""
        dump = _run(["apt-config", "dump"])
        kept = [
            line
            for line in dump.splitlines()
            # DEP-11 and translations are large and not read here
            if line.startswith("Acquire::") and "::IndexTargets::" not in line
        ]
        own = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": str(self._root / "sources.d"),
            "Dir::State": str(self._root / "state"),
            "Dir::State::status": "/dev/null",
            "Dir::Cache": str(self._root / "cache"),
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Get::List-Cleanup": "true",
            "APT::Architecture": self._arch,
            "APT::Architectures": self._arch,
        }
        if os.geteuid() == 0:
            # _apt cannot write below a checkout; signatures are checked all the same
            own["APT::Sandbox::User"] = "root"
        return "\n".join([*kept, *(f'{key} "{value}";' for key, value in own.items())]) + "\n"

    def _env(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": str(self._conf), "LC_ALL": "C.UTF-8"}

    def update(self) -> str | None:
        """Ask the mirror for the suites' indexes; returns what apt complained about, or None.

        One suite that has left the mirror makes apt fail for all, so this never raises: the
        suites that did answer are there to be read.
        """
        try:
            _run(["apt-get", "update"], env=self._env())
        except UnavailableError as trouble:
            return str(trouble)
        return None

    def packages(self, suite: str) -> dict[str, Package]:
        """The suite's packages named linux-*, the newest of each name; empty where unknown."""
        form = "$(RELEASE)|$(FILENAME)"
        listed = _run(
            ["apt-get", "indextargets", "--format", form, "Created-By: Packages"], env=self._env()
        )
        paths = [
            path
            for release, path in (line.split("|") for line in listed.splitlines())
            if release == suite and Path(path).exists()
        ]
        found: dict[str, Package] = {}
        for path in paths:
            text = _run(["/usr/lib/apt/apt-helper", "cat-file", path], env=self._env())
            for package in _stanzas(text):
                found[package.name] = package
        return found

    def download(self, packages: Iterable[Package], into: Path) -> list[Path]:
        """Fetch the packages' files into a directory; raises UnavailableError."""
        into.mkdir(parents=True, exist_ok=True)
        wanted = [f"{package.name}={package.version}" for package in packages]
        _run(["apt-get", "download", *wanted], env=self._env(), cwd=into)
        return sorted(into.glob("*.deb"))


def _stanzas(text: str) -> Iterator[Package]:
    """The linux-* stanzas of a Packages index (deb822(5)), in the order of the index."""
    for stanza in text.split("\n\n"):
        if not stanza.startswith("Package: linux-"):
            continue
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if line[:1] != " " and ": " in line
        )
        depends = tuple(
            alternative.split()[0]
            for alternative in fields.get("Depends", "").split(",")
            if alternative.strip()
        )
        yield Package(fields["Package"], fields["Version"], depends)
