"""Whose a stall is, where the process that has the socket becomes another one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_connection import conversation
from support.tcp_model import MS, OWNER

from xctl_probe.events import Process

HEIR = Process(OWNER.pid + 10, OWNER.start_ticks + 1, "heir")


def reported(scene, now_ms):
    """The process and length of the stalls that are over, and of the one that goes on."""
    scene.take_sample(now_ms)
    ended, scene.connection.ended = scene.connection.ended, []
    ongoing = scene.detector.ongoing(scene.connection, scene.owner, scene.tcp.now_ns)
    return [(one.owner, one.duration_ns // MS, one.ongoing) for one in (*ended, *ongoing)]


@pytest.fixture
def scene():
    """A client that waits for a reply since 2,000 ms, as was reported."""
    scene = conversation(11)
    scene.tcp.at(2_000).send(53)
    scene.take_sample(2_000 + 3)
    assert reported(scene, 2_203) == [(OWNER, 203, True)]
    return scene


def test_the_heir_of_a_socket_has_a_stall_of_its_own(scene):
    """The one before has waited until then."""
    scene.owner = HEIR
    assert reported(scene, 2_400) == [(OWNER, 400, False), (HEIR, 400, True)]
    assert reported(scene, 2_500) == [(HEIR, 500, True)]
    scene.tcp.at(2_550).receive(13)
    assert reported(scene, 2_600) == [(HEIR, 550, False)]


def test_it_inherits_nothing_where_the_wait_is_over_before_the_next_line(scene):
    scene.owner = HEIR
    scene.take_sample(2_400)
    scene.tcp.at(2_450).receive(13)
    assert reported(scene, 2_500) == [(OWNER, 450, False)]


def test_the_stall_of_a_process_that_is_gone_is_its_own_to_the_end(scene):
    scene.owner = None
    assert reported(scene, 2_400) == [(OWNER, 400, True)]
    scene.tcp.at(2_450).receive(13)
    assert reported(scene, 2_500) == [(OWNER, 450, False)]


def test_a_process_that_no_line_has_named_has_no_part_in_it(scene):
    """What is known of it may be old."""
    scene.connection.wait = replace(scene.connection.wait, reported=None)
    scene.owner = HEIR
    assert reported(scene, 2_400) == [(HEIR, 400, True)]


def test_a_process_that_is_found_late_has_the_whole_stall(scene):
    scene.connection.wait = replace(scene.connection.wait, reported=None)
    scene.owner = None
    assert reported(scene, 2_300) == [(None, 300, True)]
    scene.owner = OWNER
    assert reported(scene, 2_400) == [(OWNER, 400, True)]


def test_another_program_in_the_same_process_goes_on_waiting(scene):
    """execve() changes its name, and no number."""
    scene.owner = replace(OWNER, comm="other")
    assert reported(scene, 2_400) == [(scene.owner, 400, True)]
