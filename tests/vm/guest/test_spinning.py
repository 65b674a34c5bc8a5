"""Spinning receives, on every attach variant: as natively."""

from integration.test_spinning import (
    one_way,
    test_a_server_that_polls_its_connections_waits_for_work,
    test_a_timer_that_polls_a_socket_does_not_wait,
    test_who_spins_waits_from_the_first_receive_until_data_comes,
)

__all__ = [
    "one_way",
    "test_a_server_that_polls_its_connections_waits_for_work",
    "test_a_timer_that_polls_a_socket_does_not_wait",
    "test_who_spins_waits_from_the_first_receive_until_data_comes",
]
