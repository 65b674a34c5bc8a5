"""What really happened, by the clocks of the workers that took part."""

from __future__ import annotations

from collections.abc import Mapping


def bounds_ms(stall: Mapping[str, int]) -> tuple[float, float]:
    """How long a worker's stall lasted at least and at most.

    `released_ns` is when the peer, or the test, let it go on: on a busy machine the
    worker's own end of it is when it got a processor again, which is not due to the network.
    """
    begun_ns = stall.get("begun_ns", stall["stall_begin_ns"])
    least_ns = stall["released_ns"] - begun_ns
    most_ns = stall["stall_end_ns"] - stall["stall_begin_ns"]
    return least_ns / 1e6, most_ns / 1e6
