"""Statistics of an interface by name, also while their number changes."""

from __future__ import annotations

import errno

import pytest
from support.fake_driver import FakeDriver

from xctl_probe.linux.ethtool import EthtoolSocket, Statistics, physical


@pytest.fixture(params=[True, False], ids=["since 6.19", "before"])
def driver(request):
    driver = FakeDriver(strict=request.param)
    driver.statistics["eth0"] = {"rx_packets": 7, "rx_prio3_pause": 11, "tx_prio3_pause": 2**64 - 1}
    return driver


def reader(driver, interface="eth0"):
    return Statistics(interface, lambda name: "pause" in name, driver)


def test_wanted_statistics_are_read_by_name(driver):
    statistics = reader(driver)
    assert statistics.read() == {"rx_prio3_pause": 11, "tx_prio3_pause": 2**64 - 1}
    calls = driver.calls
    driver.statistics["eth0"]["rx_prio3_pause"] = 23
    assert statistics.read()["rx_prio3_pause"] == 23
    assert driver.calls == calls + 2


def test_new_queues_change_the_places(driver):
    statistics = reader(driver)
    statistics.read()
    driver.statistics["eth0"] = {f"rx{n}_packets": n for n in range(9_001)} | {"rx_prio3_pause": 31}
    assert statistics.read() == {"rx_prio3_pause": 31}


def test_queues_that_are_made_during_a_read_cost_that_read(driver):
    """Nothing is ever read from a place that has another meaning now."""
    statistics = reader(driver)
    statistics.read()
    more = {f"rx{n}_packets": n for n in range(4_001)} | {"rx_prio3_pause": 31}
    driver.before_values = lambda: driver.statistics.update(eth0=more)
    assert statistics.read() == {}
    assert statistics.read() == {"rx_prio3_pause": 31}


def test_interface_without_such_statistics_is_not_asked_for_values(driver):
    driver.statistics["eth0"] = {"rx_packets": 7}
    statistics = reader(driver)
    assert statistics.read() == {}
    driver.before_values = lambda: pytest.fail("asked for values")
    assert statistics.read() == {}


def test_interface_without_statistics_is_an_error(driver):
    driver.statistics["eth0"] = {}
    with pytest.raises(OSError, match="not supported") as refused:
        reader(driver).read()
    assert refused.value.errno == errno.EOPNOTSUPP


def test_this_kernel_knows_no_such_interface():
    """The request itself is one that a real kernel takes."""
    socket = EthtoolSocket()
    with pytest.raises(OSError, match="No such device"):
        Statistics("no-such-one", lambda _: True, socket).read()
    socket.close()
    socket.close()


def test_interfaces_below_a_vlan_on_a_bond(tmp_path):
    for path in ("vlan7/lower_bond0", "bond0/lower_eth0", "bond0/lower_eth1", "eth0", "eth1"):
        (tmp_path / path).mkdir(parents=True)
    assert physical("vlan7", tmp_path) == {"eth0", "eth1"}
    assert physical("eth1", tmp_path) == {"eth1"}
    assert physical("gone0", tmp_path) == {"gone0"}
