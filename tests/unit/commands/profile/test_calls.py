"""Names, numbers and categories of system calls."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from support.require import require

from xctl_probe.commands.profile.categories import (
    _NAMES,
    CATEGORIES,
    SHOWN,
    Category,
    category_of,
    flags,
)
from xctl_probe.commands.profile.numbers import numbers
from xctl_probe.ebpf.profile import NUMBERS, CallFlag, Descriptor
from xctl_probe.linux import syscalls

# Where Debian's linux-libc-dev has the numbers of the machine that it is for.
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/aarch64-linux-gnu/asm/unistd_64.h"),
}
DEFINED = re.compile(r"^#define __NR_(\w+) (\d+)$", re.MULTILINE)
MACHINES = tuple(HEADERS)


def test_the_numbers_are_those_of_the_headers():
    """Of this machine: older headers have fewer calls, and none with another number."""
    machine = platform.machine()
    path = HEADERS[machine]
    require(path.exists(), f"{path} is missing: install linux-libc-dev")
    defined = {int(number): name for name, number in DEFINED.findall(path.read_text())}
    assert len(defined) > 300
    assert {number: numbers(machine).get(number) for number in defined} == defined


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_that_the_waits_are_found_by(machine):
    known = {number: name for number, (name, _) in syscalls._NUMBERS[machine].items()}
    assert {number: numbers(machine)[number] for number in known} == known


def test_the_receives_of_the_kernel_programs_have_their_numbers():
    """By machine, in the order of MACHINES."""
    source = (Path(__file__).parents[4] / "bpf/profile.bpf.c").read_text()
    found = re.findall(r"^#define CALL_(RECV\w+) (\d+)$", source, re.MULTILINE)
    assert [(name.lower(), int(number)) for name, number in found] == [
        (name, number)
        for machine in MACHINES
        for number, name in sorted(numbers(machine).items())
        if name in ("recvfrom", "recvmsg")
    ]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_has_its_place_in_the_kernel_programs(machine):
    assert max(numbers(machine)) < NUMBERS - 1


def test_another_machine_has_no_names():
    assert numbers("riscv64") == {}


def test_each_call_has_one_category_and_exists():
    every = {name for machine in MACHINES for name in numbers(machine).values()}
    named = [name for names in _NAMES.values() for name in names.split()]
    assert len(named) == len(set(named))
    assert set(named) <= every
    assert len(every - set(named)) <= 15  # of system calls that no kernel has any more, most


def test_every_category_has_a_call():
    assert {category_of(name, Descriptor.NONE) for name in (*CATEGORIES, "tuxcall")} == set(
        Category
    )


def test_a_descriptor_decides_what_a_call_is_for():
    found = [category_of("read", kind) for kind in Descriptor]
    assert found == [Category.FILE, Category.NETWORK, Category.IPC]


def test_the_shown_calls_exist():
    every = set(numbers("x86_64").values())
    assert {name for names in SHOWN.values() for name in names} <= every


def test_the_kernel_is_given_what_is_known_of_a_call():
    known = flags(
        {1: "write", 2: "close", 3: "getpid", 4: "exit_group", 5: "recvmmsg", 6: "splice"}
    )
    assert known == {
        1: CallFlag.HAS_FD | CallFlag.RETURNS_BYTES,
        2: CallFlag.HAS_FD,
        4: CallFlag.LEAVES,
        5: CallFlag.HAS_FD,  # it returns messages
        6: CallFlag.HAS_FD | CallFlag.RETURNS_BYTES,
    }
