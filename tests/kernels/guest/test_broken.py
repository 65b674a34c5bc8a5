"""Networks that break in the middle, and calls that come back empty-handed: as tests/loopback."""

from loopback.test_broken import (
    test_a_host_that_is_nowhere,
    test_a_peer_that_vanishes,
    test_a_reset_in_mid_stream,
)
from loopback.test_calls import (
    test_a_receive_that_signals_interrupt,
    test_each_thread_waits_on_a_socket_of_its_own,
)

__all__ = [
    "test_a_host_that_is_nowhere",
    "test_a_peer_that_vanishes",
    "test_a_receive_that_signals_interrupt",
    "test_a_reset_in_mid_stream",
    "test_each_thread_waits_on_a_socket_of_its_own",
]
