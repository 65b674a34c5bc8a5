"""Makes a container image of the probe, without a registry and without a shell.

Debian's packages are unpacked, not installed: Python, libbpf, numpy and the C libraries that they
load.  The probe and its other dependencies come from pip.  What the probe does not load is left
out, the rest is compiled and packed as one layer of an OCI archive.  The same inputs give the same
bytes.

    python3 packaging/container/image.py build/image [ARCHITECTURE]    needs Debian 12 and pip

ARCHITECTURE is dpkg's word; the default is that of this machine.  No program of the image is run.

https://github.com/opencontainers/image-spec: image-layout.md, manifest.md, config.md, layer.md.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "xctl_probe", "fallback", "bpf")
NAME = "xctl-probe-network"
# Shared libraries of Python's modules, of libbpf and of numpy; `{python}` as in python3.11.
PACKAGES = (
    "{python}-minimal", "lib{python}-minimal", "lib{python}-stdlib", "libbpf1", "libelf1",
    "python3-numpy", "libblas3", "liblapack3", "libgfortran5", "libstdc++6", "libgcc-s1",
    "libc6", "zlib1g", "libexpat1", "libffi8",
)  # fmt: skip
# libgfortran's, where `long double` is not of 128 bits.
PACKAGES_OF = {"amd64": ("libquadmath0",), "arm64": ()}
FROM_DEBIAN = ("numpy",)  # PyPI's brings 28 MB of OpenBLAS, for nothing that the sampler computes
# Below the root.  Folders end with a slash, wherever they are.
LEFT_OUT = re.compile(
    r"""
      (?:usr/share|usr/sbin|etc)/       # licences come back
    | usr/bin/(?!python3\.\d+$).+
    | usr/lib/[^/]+/(?:gconv|audit|perl5)/
    | usr/lib/python3\.\d+/dist-packages/
    | .*/config-3\.\d+-[^/]*/
    | .*/(?:tests?|__pycache__|idlelib|lib2to3|distutils|pydoc_data|turtledemo|tkinter|ensurepip
        |xmlrpc|wsgiref|curses|sqlite3|dbm|f2py|include|_examples)/
    | .*/lib-dynload/(?:_ssl|_hashlib|_curses\w*|_dbm|_gdbm|_sqlite3|readline|_crypt|nis|_codecs_\w+
        |_bz2|_lzma|_tkinter|ossaudiodev|audioop|_test\w*|xx\w*)\..*
    | .*/dist-packages/(?:bin|share|psutil-stubs|pygments|markdown_it|mdurl)/  # rich: no Markdown
    | .*/numpy/core/_simd\..*
    | .*\.(?:pyi|pxd|a|exe)
    | .*\.dist-info/(?:RECORD|direct_url\.json)  # with the folder of the build
    """,
    re.VERBOSE,
)
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # uname(1)'s words
COMMAND = "usr/bin/xctl-probe-network"
EPOCH = 0  # of every file
COMPRESSION = 6  # 9 takes three times as long, for 1 % less
FILE_MODE, PROGRAM_MODE, ANY_EXECUTES = 0o644, 0o755, 0o111


def main() -> None:
    """Make the image in the folder of the first argument, for the architecture of the second."""
    own = output("dpkg", "--print-architecture").strip()
    target, architecture = Path(sys.argv[1]), (sys.argv[2:] or [own])[0]
    if architecture not in MACHINES:
        sys.exit(f"no image for {architecture}: use {' or '.join(MACHINES)}")
    target.mkdir(parents=True, exist_ok=True)
    root = target / "root"
    if root.exists():
        shutil.rmtree(root)
    root.mkdir()
    python = debian_python()
    apt = system_apt() if architecture == own else foreign_apt(target / "apt", architecture)
    packages = [name.format(python=python) for name in PACKAGES + PACKAGES_OF[architecture]]
    unpack_packages(apt, packages, target / "packages", root)
    install_probe(root, copy_sources(target / "sources"), python, MACHINES[architecture])
    prune(root)
    complete(root, python)
    compile_all(root, python)
    archive = target / f"{NAME}.{architecture}.oci.tar"
    write_archive(root, archive, architecture)
    unpacked = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, {unpacked / 1e6:.1f} MB unpacked")


def debian_python() -> str:
    """Return the distribution's Python, as in `python3.11`."""
    words = ("apt-cache", "show", "--no-all-versions", "python3-minimal")
    shown = output(*words)
    if not shown and os.geteuid() == 0:
        run("apt-get", "-q", "-q", "update")
        shown = output(*words)
    found = re.search(r"\b(python3\.\d+)-minimal", shown)
    if found is None:
        sys.exit("apt knows no python3-minimal: run apt-get update, on Debian")
    return found[1]


def system_apt() -> tuple[str, ...]:
    """Return the command of this machine's apt, which knows its own architecture."""
    return "apt-get", "-q", "-q", "-o", "APT::Sandbox::User=root"


def foreign_apt(folder: Path, architecture: str) -> tuple[str, ...]:
    """Return a command that knows another architecture, with lists of its own in `folder`."""
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    own = {
        "Dir::State::lists": f"{folder.resolve()}/lists",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
    }
    words = [word for name, text in own.items() for word in ("-o", f"{name}={text}")]
    apt = (*system_apt(), *words)
    run(*apt, "update")
    return apt


def unpack_packages(apt: tuple[str, ...], names: list[str], folder: Path, root: Path) -> None:
    """Download the packages by apt, which checks their signatures, and unpack them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run(*apt, "download", *names, cwd=folder)
    for package in sorted(folder.glob("*.deb")):
        run("dpkg-deb", "--extract", package.resolve(), root.resolve())


def copy_sources(folder: Path) -> Path:
    """Copy the sources, so that nothing of an older build in the checkout comes along."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(CHECKOUT / name, folder / name)
    return folder


def install_probe(root: Path, sources: Path, python: str, machine: str) -> None:
    """Install the probe, and those of its dependencies that are not Debian's."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = [one for one in project["dependencies"] if not one.startswith(FROM_DEBIAN)]
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    into = ("--no-compile", "--target", root / "usr/lib/python3/dist-packages")
    version = python.removeprefix("python")
    for_image = ("--only-binary=:all:", "--implementation=cp", f"--python-version={version}",
                 f"--platform=manylinux2014_{machine}")  # fmt: skip
    run(*pip, *into, *for_image, *wanted)
    run(*pip, *into, "--no-deps", sources.resolve())


def prune(root: Path) -> None:
    """Delete what the probe does not load; licences of packages are kept."""
    licences = root / "usr/share/doc"
    kept = {path: path.read_bytes() for path in licences.glob("*/copyright") if path.is_file()}
    for folder, folders, files in os.walk(root):
        for name in list(folders):
            path = Path(folder, name)
            if LEFT_OUT.fullmatch(f"{path.relative_to(root)}/") and not path.is_symlink():
                shutil.rmtree(path)
                folders.remove(name)
        for name in files:
            path = Path(folder, name)
            if LEFT_OUT.fullmatch(str(path.relative_to(root))):
                path.unlink()
    for path, text in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


def complete(root: Path, python: str) -> None:
    """Add what scripts of the packages make, the command, and places to mount on."""
    for name in ("blas", "lapack"):  # alternatives, libblas3.postinst
        for library in (root / "usr/lib").glob(f"*/{name}/lib{name}.so.3"):
            (library.parents[1] / library.name).symlink_to(f"{name}/{library.name}")
    (root / COMMAND).write_text(
        f"#!/usr/bin/{python} -I\nfrom xctl_probe.start import main\n\nmain()\n"
    )
    (root / COMMAND).chmod(PROGRAM_MODE)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:\nprobe:x:65532:65532::/:\n")
    for name in ("proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(exist_ok=True)


def compile_all(root: Path, python: str) -> None:
    """Compile by this machine's Python of the same version: the image's root is read-only."""
    compiler = (f"/usr/bin/{python}", "-I", "-m", "compileall", "-q", "-s", root, "-p", "/")
    # unchecked: files of a layer do not change, and their times are those of the archive.
    run(*compiler, "--invalidation-mode=unchecked-hash", root / "usr/lib")


def write_archive(root: Path, archive: Path, architecture: str) -> None:
    """Write the OCI archive: one layer, its configuration, the manifest and the index."""
    layer = layer_of(root)
    packed = gzip.compress(layer, COMPRESSION, mtime=EPOCH)
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    config = encoded(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": [f"/{COMMAND}"],
                "Env": ["PATH=/usr/bin", "PYTHONDONTWRITEBYTECODE=1"],
                "User": "0:0",
                "WorkingDir": "/",
                "Labels": {
                    "org.opencontainers.image.title": NAME,
                    "org.opencontainers.image.version": version,
                    "org.opencontainers.image.licenses": "MIT",
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    )
    kind = "application/vnd.oci.image"
    manifest = encoded(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": described(f"{kind}.config.v1+json", config),
            "layers": [described(f"{kind}.layer.v1.tar+gzip", packed)],
        }
    )
    # With a registry, as a name without one may be any's; podman and containerd load it as that.
    name = f"localhost/{NAME}:{version}"
    keys = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
    named = {"annotations": dict.fromkeys(keys, name)}
    index = encoded(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.index.v1+json",
            "manifests": [described(f"{kind}.manifest.v1+json", manifest) | named],
        }
    )
    files = {"oci-layout": encoded({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for blob in (config, packed, manifest):
        files[f"blobs/{digest(blob).replace(':', '/')}"] = blob
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), FILE_MODE, EPOCH
            tar.addfile(entry, io.BytesIO(content))


def layer_of(root: Path) -> bytes:
    """Return the root file system as a tar, in the order of names, all of it root's."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            entry = tar.gettarinfo(path, str(path.relative_to(root)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = EPOCH
            if entry.isreg():
                entry.mode = PROGRAM_MODE if entry.mode & ANY_EXECUTES else FILE_MODE
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                entry.mode = PROGRAM_MODE
                tar.addfile(entry)
    return layer.getvalue()


def described(media_type: str, blob: bytes) -> dict[str, object]:
    """Return the descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def digest(blob: bytes) -> str:
    """Return the name of a blob in the archive."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def encoded(value: object) -> bytes:
    """Return a value as JSON, always in the same bytes."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def run(*words: object, cwd: Path | None = None) -> None:
    """Run a command; it stops this one where it fails, with its own message."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, check=False)
    if done.returncode:
        sys.exit(f"{words[0]} failed with exit code {done.returncode}")


def output(*words: str) -> str:
    """Return what a command prints; empty where it fails."""
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
