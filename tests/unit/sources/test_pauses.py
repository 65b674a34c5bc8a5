"""Pauses by priority, whatever the driver calls them."""

from __future__ import annotations

import errno

import pytest
from support.fake_driver import FakeDriver

from xctl_probe.events import PortErrorKind as Kind
from xctl_probe.events import PortErrors
from xctl_probe.sources.pauses import Meaning, Pauses, meaning


class Clock:
    """Each request takes `call_ns`."""

    def __init__(self, driver, call_ns=0):
        self.now_ns, self.call_ns, self.driver = 0, call_ns, driver

    def __call__(self):
        return self.now_ns + self.driver.calls * self.call_ns


@pytest.fixture
def driver():
    driver = FakeDriver()
    driver.statistics["eth0"] = {
        "rx_packets": 1_009,
        "rx_prio3_pause": 70_001,
        "rx_prio3_pause_duration": 90_001,
        "rx_prio4_pause": 0,
        "tx_prio3_pause": 0,
        "tx_pause_storm_error_events": 0,
        "rx_discards_phy": 0,
    }
    return driver


@pytest.fixture
def pauses(driver):
    return opened(driver)


def opened(driver):
    pauses = Pauses(lambda: driver, clock=lambda: 0)
    assert list(pauses.collect(["eth0"])) == []
    return pauses


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rx_prio3_pause", Meaning(Kind.PFC_PAUSE, 3)),
        ("tx_prio0_pause_duration", Meaning(Kind.PFC_PAUSE_SENT, 0, True)),
        ("rx_global_pause", Meaning(Kind.PAUSE)),
        ("tx_global_pause_duration", Meaning(Kind.PAUSE_SENT, None, True)),
        ("rx_pfc_ena_frames_pri5", Meaning(Kind.PFC_PAUSE, 5)),
        ("pfc_pri5_tx_duration_us", Meaning(Kind.PFC_PAUSE_SENT, 5, True)),
        ("rx_priority_2_xoff.nic", Meaning(Kind.PFC_PAUSE, 2)),
        ("port.tx_priority_2_xoff_tx", Meaning(Kind.PFC_PAUSE_SENT, 2)),
        ("port.rx_priority_2_xoff", Meaning(Kind.PFC_PAUSE, 2)),
        ("link_xoff_rx.nic", Meaning(Kind.PAUSE)),
        ("port.link_xoff_tx", Meaning(Kind.PAUSE_SENT)),
        ("rx_pause_frames", Meaning(Kind.PAUSE)),
        ("tx_pause_storm_warning_events", Meaning(Kind.PAUSE_STORM)),
        ("rx_priority_2_xon.nic", None),
        ("rx_prio3_bytes", None),
        ("rx_prio3_pause_transition", None),
        ("rx3_packets", None),
        ("rx_pause_ctrl_phy", None),
    ],
)
def test_meaning_of_the_names_of_drivers(name, expected):
    """A transition is the beginning of a pause that is counted already, an xon its end."""
    assert meaning(name) == expected


def test_pauses_are_reported_by_priority_with_their_duration(driver, pauses):
    driver.statistics["eth0"] |= {
        "rx_prio3_pause": 70_024,
        "rx_prio3_pause_duration": 94_242,
        "rx_prio4_pause": 7,
        "tx_prio3_pause": 5,
        "tx_pause_storm_error_events": 1,
        "rx_discards_phy": 29,
    }
    assert list(pauses.collect(["eth0"])) == [
        PortErrors(
            "eth0",
            Kind.PFC_PAUSE,
            23,
            (("rx_prio3_pause", 23), ("rx_prio3_pause_duration", 4_241)),
            3,
        ),
        PortErrors("eth0", Kind.PFC_PAUSE, 7, (("rx_prio4_pause", 7),), 4),
        PortErrors("eth0", Kind.PFC_PAUSE_SENT, 5, (("tx_prio3_pause", 5),), 3),
        PortErrors("eth0", Kind.PAUSE_STORM, 1, (("tx_pause_storm_error_events", 1),)),
        PortErrors("eth0", Kind.DISCARD, 29, (("rx_discards_phy", 29),)),
    ]
    assert list(pauses.collect(["eth0"])) == []


def test_statistics_that_appear_have_no_past(driver, pauses):
    """Those of a priority exist while flow control is on."""
    driver.statistics["eth0"]["rx_prio5_pause"] = 4_241
    assert list(pauses.collect(["eth0"])) == []
    assert list(pauses.collect(["eth0"])) == []
    driver.statistics["eth0"]["rx_prio5_pause"] = 4_244
    (paused,) = pauses.collect(["eth0"])
    assert (paused.priority, paused.count) == (5, 3)


def test_pauses_while_the_statistics_change_are_made_up_for(driver, pauses):
    more = {"rx9_packets": 1} | driver.statistics["eth0"] | {"rx_prio4_pause": 7}
    driver.before_values = lambda: driver.statistics.update(eth0=more)
    assert list(pauses.collect(["eth0"])) == []
    assert [e.count for e in pauses.collect(["eth0"])] == [7]


def test_statistics_that_were_reset_start_afresh(driver, pauses):
    driver.statistics["eth0"]["rx_prio3_pause"] = 3
    assert list(pauses.collect(["eth0"])) == []
    driver.statistics["eth0"]["rx_prio3_pause"] = 8
    assert [e.count for e in pauses.collect(["eth0"])] == [5]


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EOPNOTSUPP, errno.EPERM])
def test_interface_that_gives_none_is_asked_once(driver, code):
    driver.error = code
    pauses = opened(driver)
    calls = driver.calls
    assert list(pauses.collect(["eth0"])) == []
    assert driver.calls == calls


def test_interface_that_came_back_is_asked_again(driver):
    driver.error = errno.ENODEV
    pauses = opened(driver)
    assert list(pauses.collect([])) == []
    driver.error = None
    assert list(pauses.collect(["eth0"])) == []
    driver.statistics["eth0"]["rx_prio3_pause"] += 11
    assert [e.count for e in pauses.collect(["eth0"])] == [11]


def test_passing_error_costs_one_interval(driver, pauses):
    driver.error = errno.EIO
    driver.statistics["eth0"]["rx_prio3_pause"] += 11
    assert list(pauses.collect(["eth0"])) == []
    driver.error = None
    assert [e.count for e in pauses.collect(["eth0"])] == [11]


def test_slow_driver_is_asked_one_hundredth_of_the_time(driver):
    """The first read takes three requests of 1 ms: the next is due 300 ms later."""
    clock = Clock(driver, call_ns=1_000_000)
    pauses = Pauses(lambda: driver, clock=clock)
    list(pauses.collect(["eth0"]))
    assert driver.calls == 3
    clock.now_ns = 299_000_000
    list(pauses.collect(["eth0"]))
    assert driver.calls == 3
    clock.now_ns = 300_000_000
    list(pauses.collect(["eth0"]))
    assert driver.calls == 5


def test_host_without_roce_opens_no_socket():
    assert list(Pauses(lambda: pytest.fail("opened")).collect([])) == []
