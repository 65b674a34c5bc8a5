"""Whether the compiled modules of each package are those of its machines."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# e_machine of elf(5), in the two bytes at this place, to uname(1)'s word.
MACHINE_AT = slice(18, 20)
MACHINES = {b"\x3e\x00": "x86_64", b"\xb7\x00": "aarch64"}
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
ORJSON, PSUTIL = 3, 1  # for each version of Python, and one for all


def check(dist: Path) -> None:
    """Raise AssertionError where a module is missing, or is another machine's."""
    (single,) = dist.glob("*.pyz")
    found = Counter(_of_zip(single))
    assert found == {(one, one): ORJSON + PSUTIL for one in ARCHITECTURES.values()}, found
    packages = {path.stem.rpartition("_")[2]: path for path in dist.glob("*.deb")}
    assert packages.keys() == ARCHITECTURES.keys(), packages
    for architecture, path in packages.items():
        machines = list(_of_package(path))
        assert machines == [ARCHITECTURES[architecture]] * ORJSON, (architecture, machines)


def _of_zip(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the machine of each module, and the folder that names one."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                yield MACHINES[archive.read(name)[MACHINE_AT]], name.partition("/")[0]


def _of_package(path: Path) -> Iterator[str]:
    """Yield the machine of each module."""
    words = ("dpkg-deb", "--fsys-tarfile", path)
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            if member.name.endswith(".so"):
                yield MACHINES[archive.extractfile(member).read()[MACHINE_AT]]
