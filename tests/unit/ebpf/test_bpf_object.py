"""The committed objects are what the source compiles to, wherever it lies."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.require import require_tools

from xctl_probe.ebpf.bpf_object import object_for

BPF = Path(__file__).parents[3] / "bpf"


def objects(folder: Path) -> list[Path]:
    return list(folder.glob("objects/*/*.bpf.o"))


def test_each_machine_has_the_same_objects() -> None:
    x86_64, aarch64 = (
        sorted(path.name for path in objects(BPF) if path.parent.name == machine)
        for machine in ("x86_64", "aarch64")
    )
    assert x86_64 == aarch64 == sorted(f"{path.stem}.o" for path in BPF.glob("*.bpf.c"))


def test_a_machine_without_objects_has_none() -> None:
    assert object_for("fentry.bpf.o", "aarch64") != object_for("fentry.bpf.o", "x86_64")
    assert object_for("fentry.bpf.o", "riscv64") is None


@pytest.fixture
def tools() -> None:
    require_tools("make", "clang-14", "llvm-strip-14", "clang-format-14")


@pytest.mark.usefixtures("tools")
def test_built_elsewhere_they_are_the_same_bytes(tmp_path: Path) -> None:
    copy = tmp_path / "somewhere" / "else"
    shutil.copytree(BPF, copy, ignore=shutil.ignore_patterns("*.o"))
    subprocess.run(["make", "-s", "-C", copy], check=True)
    built = {path.relative_to(copy): path.read_bytes() for path in objects(copy)}
    committed = {path.relative_to(BPF): path.read_bytes() for path in objects(BPF)}
    assert sorted(built) == sorted(committed)
    assert [name for name in built if built[name] != committed[name]] == []


@pytest.mark.usefixtures("tools")
def test_a_change_of_the_source_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "bpf"
    shutil.copytree(BPF, copy)
    with (copy / "include" / "sock_iter.bpf.h").open("a") as file:
        file.write('static int unused __attribute__((used, section(".maps2"))) = 7;\n')
    done = subprocess.run(
        ["make", "-s", "-C", copy, "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "not built from its source" in done.stdout


@pytest.mark.usefixtures("tools")
def test_the_source_is_formatted() -> None:
    subprocess.run(["make", "-s", "-C", BPF, "format-check"], check=True)


def test_no_path_of_a_builder_is_in_them() -> None:
    for path in objects(BPF):
        assert b"/home/" not in path.read_bytes()
        assert str(BPF).encode() not in path.read_bytes()


def test_their_licence_lets_the_kernel_load_them() -> None:
    for path in objects(BPF):
        assert b"Dual MIT/GPL\0" in path.read_bytes()
