"""The work of a peer goes with the time when it was read, which may be before the sample."""

from __future__ import annotations

import pytest

from xctl_probe.linux.process_activity import Work
from xctl_probe.stalls.peer_work import PeerWork

MS = 1_000_000


@pytest.mark.parametrize(("worked_ms", "computes"), [(599, False), (600, True)])
def test_an_answer_that_was_late_is_of_the_time_when_it_was_read(worked_ms, computes):
    """Half of the 1,200 ms between the readings, not of the 500 between the samples."""
    work = PeerWork()
    for noted_ms, read in (
        (1_000, Work({239: 0}, 200 * MS)),
        (1_500, Work({239: worked_ms * MS}, 1_400 * MS)),
    ):
        work.note(lambda read=read: read, noted_ms * MS, 400 * MS)
    assert work.computes is computes
