"""Files of ports stay open while their port exists, as many as a process can spare."""

from __future__ import annotations

import os

import pytest
from support.rdma_tree import Tree

from xctl_probe.linux.rdma_ports import KeptFiles, Ports

COUNTERS = frozenset({"port_rcv_data", "port_xmit_data", "rp_cnp_handled"})


@pytest.fixture
def opened():
    """How many descriptors were opened since, and not closed."""
    before = len(os.listdir("/proc/self/fd"))
    return lambda: len(os.listdir("/proc/self/fd")) - before


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path / "infiniband")
    tree.add("mlx5_0")
    tree.add("mlx5_1")
    return tree


def test_kept_file_shows_what_is_in_it_now(tree, opened):
    ports = Ports(COUNTERS, tree.root)
    for value in (23, 4_241, 7):
        tree.set("mlx5_0", port_rcv_data=value)
        port = ports.read()["mlx5_0/1", os.stat(tree.port("mlx5_0")).st_ino]
        assert port.counters() == {"port_rcv_data": value, "port_xmit_data": 0, "rp_cnp_handled": 0}
    assert opened() == 3
    ports.close()
    assert opened() == 0


def test_files_of_a_port_that_is_gone_are_closed(tree, opened):
    ports = Ports(COUNTERS, tree.root)
    for port in ports.read().values():
        port.counters()
    assert opened() == 6
    tree.remove("mlx5_1")
    ports.read()
    assert opened() == 3


def test_only_so_many_files_are_kept(tree, opened):
    """The others are read all the same."""
    read = KeptFiles(most=2)
    paths = [str(path) for path in tree.port("mlx5_0").glob("*counters/*")]
    assert {read(path) for path in paths if not path.endswith("lifespan")} == {b"0\n"}
    assert opened() == 2
    read.close()
    read.close()
    assert opened() == 0


def test_file_that_cannot_be_read_is_not_kept(tmp_path, opened):
    """A folder opens, and refuses to be read."""
    with pytest.raises(IsADirectoryError):
        KeptFiles()(str(tmp_path))
    assert opened() == 0


def test_port_that_is_added_later_is_found(tree):
    """And a device that is made again under its name is another one."""
    ports = Ports(COUNTERS, tree.root)
    first = [port.name for port in ports.read().values()]
    assert first == ["mlx5_0", "mlx5_1"]
    kept = ports.read()
    assert list(ports.read().values()) == list(kept.values())
    tree.remove("mlx5_1")
    tree.add("mlx5_1", ports=2)
    now = ports.read()
    assert [port.name for port in now.values()] == ["mlx5_0", "mlx5_1/1", "mlx5_1/2"]
    assert len(now.keys() & kept.keys()) == 1
