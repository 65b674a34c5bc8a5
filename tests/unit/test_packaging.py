"""What packaging/ states of versions is what pyproject.toml states; the single file's imports."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support.require import require_tools

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
LOCKED = dict(
    re.findall(r"^([\w-]+)==(\S+) ", (PACKAGING / "requirements.txt").read_text(), re.MULTILINE)
)
CONTROL = (PACKAGING / "debian/control").read_text()
UNIT = PACKAGING / "systemd/xctl-probe-network.service"


def depends():
    """Python packages of the distribution to their least versions, without epochs."""
    found = re.findall(r"^[ \w:]*\bpython3-(\w+)(?: \(>= (?:\d+:)?([\d.]+)\))?,", CONTROL, re.M)
    return dict(found)


def test_what_is_pinned_is_what_pyproject_allows():
    pinned = {name: LOCKED[name] for name in REQUIREMENTS if name in LOCKED}
    assert pinned.keys() == REQUIREMENTS.keys() - {"numpy"}
    assert all(Version(version) in REQUIREMENTS[name] for name, version in pinned.items())


def test_the_debian_package_depends_on_the_least_versions_of_pyproject():
    least = {
        name: version
        for name, version in depends().items()
        if name in REQUIREMENTS and f">={version}" in str(REQUIREMENTS[name])
    }
    assert least.keys() == {"numpy", "psutil"}


def test_the_debian_package_has_or_depends_on_each_pinned_module():
    line = re.search(r'^DISTRIBUTIONS="(.*)"', (PACKAGING / "build-deb").read_text(), re.MULTILINE)
    assert set(line[1].split()) == depends().keys() - {"numpy"}
    assert set(line[1].split()) < LOCKED.keys()


def test_all_places_name_the_same_versions_of_python():
    common = (PACKAGING / "common.sh").read_text()
    versions = re.search(r'^PYTHONS="(.*)"', common, re.MULTILINE)[1].split()
    first, last = (tuple(map(int, v.split("."))) for v in (versions[0], versions[-1]))
    tuples = "((3, 11), (3, 12), (3, 13))"
    assert tuples == repr(tuple(tuple(map(int, v.split("."))) for v in versions))
    assert f"PYTHONS = {tuples}" in (PACKAGING / "pyz/__main__.py").read_text()
    assert f"python3 (>= {first[0]}.{first[1]})" in CONTROL
    assert f"python3 (<< {last[0]}.{last[1] + 1})" in CONTROL
    assert PROJECT["requires-python"] == f">={versions[0]}"


@pytest.fixture
def extensions(monkeypatch):
    """The module of the single file, with imports as they were afterwards."""
    spec = importlib.util.spec_from_file_location("extensions", PACKAGING / "pyz/extensions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return module


def test_a_compiled_module_is_imported_from_memory(extensions, monkeypatch):
    (file,) = Path(psutil.__file__).parent.glob("_psutil_linux*.so")
    images = {f"{os.uname().machine}/elsewhere/{file.name}": file.read_bytes()}

    def read(path):
        try:
            return images[path]
        except KeyError:
            raise OSError(path) from None

    extensions.install(read)
    name = "elsewhere._psutil_linux"
    spec = sys.meta_path[-1].find_spec(name, None)
    module = importlib.util.module_from_spec(spec)
    assert re.fullmatch(r"/proc/self/fd/\d+", module.__file__)
    assert callable(module.disk_partitions)
    assert sys.meta_path[-1].find_spec("elsewhere.other", None) is None


def test_an_old_python_gets_one_line(tmp_path):
    """The file is parsed by any python3: the version is what it checks first."""
    text, count = re.subn(
        r"^PYTHONS = .*$", "PYTHONS = ((3, 0),)", (PACKAGING / "pyz/__main__.py").read_text(),
        flags=re.MULTILINE,
    )  # fmt: skip
    assert count == 1
    (tmp_path / "__main__.py").write_text(text)
    done = subprocess.run(
        [sys.executable, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "this file is for 3.11 to 3.13; remedy: " in line


def test_the_hardening_has_the_score_that_the_page_states():
    require_tools("systemd-analyze")
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    (score,) = re.findall(r"exposure level .*: ([\d.]+)", done.stdout)
    assert f"{score} of 10" in (ROOT / "docs/service.md").read_text()


def index_of(archive):
    with tarfile.open(archive) as tar:
        return json.loads(tar.extractfile("index.json").read())


def test_the_image_has_one_name_in_the_archive_the_page_and_the_manifests(tmp_path):
    """With its tag: podman and containerd take the name of an archive from its annotations."""
    spec = importlib.util.spec_from_file_location("image", PACKAGING / "container/image.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    (tmp_path / "root").mkdir()
    maker.write_archive(tmp_path / "root", tmp_path / "image.tar", "amd64")
    tagged = f"xctl-probe-network:{PROJECT['version']}"
    (described,) = index_of(tmp_path / "image.tar")["manifests"]
    assert described["annotations"] == {
        "io.containerd.image.name": f"localhost/{tagged}",
        "org.opencontainers.image.ref.name": f"localhost/{tagged}",
    }
    page = (ROOT / "docs/container.md").read_text()
    assert re.findall(r"\b(?:localhost|registry\.example)/\S+", page.split("```")[1]) == [
        f"registry.example/{tagged}",
        f"localhost/{tagged}",
    ]
    manifest = (PACKAGING / "kubernetes/base/kustomization.yaml").read_text()
    places = re.findall(r"new(?:Name|Tag): (\S+)", manifest)
    assert ":".join(places) == f"registry.example/{tagged}"


def test_the_page_of_the_service_adds_each_capability_that_an_option_takes():
    """Those of the table of privileges that are not in the unit."""
    privileges = (ROOT / "docs/privileges.md").read_text().split("## What is given up")[0]
    rows = [row.split("|") for row in privileges.splitlines() if row.startswith("|")]
    taken = {one for row in rows if "--" in row[1] for one in re.findall(r"`(CAP_\w+)`", row[2])}
    in_unit = re.search(r"^CapabilityBoundingSet=(.*)", UNIT.read_text(), re.MULTILINE)[1].split()
    added = re.findall(r"`CapabilityBoundingSet=(\w+)`", (ROOT / "docs/service.md").read_text())
    assert {"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"} < taken
    assert set(added) == taken - set(in_unit)
