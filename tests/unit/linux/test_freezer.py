"""Frozen cgroups, read from cgroup file systems made of files."""

from __future__ import annotations

import pytest

from xctl_probe.linux.freezer import Freezer

PID = 233


class Host:
    """A /proc with one process, and the two hierarchies, mounted as one likes."""

    def __init__(self, path):
        self.path = path
        (path / str(PID)).mkdir()
        (path / "self").mkdir()

    def mounts(self, root="/", folder="cg"):
        escaped = str(self.path / folder).replace(" ", "\\040")
        (self.path / "self/mountinfo").write_text(
            "21 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n"
            f"31 21 0:27 {root} {escaped}/v1 rw shared:7 - cgroup cgroup rw,freezer\n"
            f"32 21 0:28 {root} {escaped}/cpu rw - cgroup cgroup rw,cpu\n"
            f"33 21 0:29 {root} {escaped}/v2 rw - cgroup2 cgroup2 rw\n"
            "garbage\n - \n"
        )

    def write(self, path, text):
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def cgroup(self, text):
        self.write(f"{PID}/cgroup", text)

    def frozen(self):
        return Freezer(self.path).frozen(PID)


@pytest.fixture
def host(tmp_path):
    one = Host(tmp_path)
    one.mounts()
    return one


@pytest.mark.parametrize(("line", "frozen"), [("frozen 1", True), ("frozen 0", False)])
def test_version_2_reports_it_in_events(host, line, frozen):
    host.cgroup("0::/box\n")
    host.write("cg/v2/box/cgroup.events", f"populated 1\n{line}\n")
    assert host.frozen() is frozen


@pytest.mark.parametrize(
    ("state", "frozen"), [("FROZEN", True), ("FREEZING", False), ("THAWED", False)]
)
def test_version_1_reports_it_in_the_freezer_s_state(host, state, frozen):
    """The other controllers have cgroups of their own, where it does not show."""
    host.cgroup("7:cpu:/other\n6:freezer,net_cls:/box\n0::/\n")
    host.write("cg/v1/box/freezer.state", f"{state}\n")
    assert host.frozen() is frozen


def test_a_container_sees_its_own_part(host):
    """The mount's root is a cgroup below; what is not below it cannot be seen."""
    host.mounts(root="/docker/box")
    host.write("cg/v2/inner/cgroup.events", "frozen 1\n")
    host.cgroup("0::/docker/box/inner\n")
    assert host.frozen()
    for elsewhere in ("0::/docker/other\n", "0::/../other\n", "0::/docker/box/../other\n"):
        host.cgroup(elsewhere)
        assert not host.frozen()


def test_a_container_does_not_see_a_cgroup_whose_name_only_begins_as_its_own(host):
    host.mounts(root="/box")
    host.write("cg/v2/2/cgroup.events", "frozen 1\n")
    host.cgroup("0::/box2\n")
    assert not host.frozen()
    host.write("cg/v2/cgroup.events", "frozen 1\n")
    host.cgroup("0::/box\n")
    assert host.frozen()


@pytest.mark.parametrize("character", "\x0b\x1c\x85\u2028")
def test_a_name_may_have_what_is_an_end_of_line_in_python(host, character):
    host.mounts(folder=f"c{character}g")
    host.write(f"c{character}g/v2/b{character}x/cgroup.events", "frozen 1\n")
    host.cgroup(f"0::/b{character}x\n")
    assert host.frozen()


def test_a_mount_may_have_a_space_in_its_path(host):
    host.mounts(folder="c g")
    host.write("c g/v2/box/cgroup.events", "frozen 1\n")
    host.cgroup("0::/box\n")
    assert host.frozen()


def test_what_cannot_be_read_is_not_frozen(host, tmp_path):
    assert not host.frozen()
    for text in ("", "x\n", "0:\n", "0::\n", "0::/\n", "6:freezer:/gone\n"):
        host.cgroup(text)
        assert not host.frozen()
    (tmp_path / "self/mountinfo").unlink()
    host.cgroup("0::/box\n")
    assert not host.frozen()


def test_one_reading_serves_until_the_next_sample(host):
    host.cgroup("0::/box\n")
    host.write("cg/v2/box/cgroup.events", "frozen 1\n")
    freezer = Freezer(host.path)
    assert freezer.frozen(PID)
    host.write("cg/v2/box/cgroup.events", "frozen 0\n")
    assert freezer.frozen(PID)
    freezer.begin()
    assert not freezer.frozen(PID)
