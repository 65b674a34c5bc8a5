"""Calls that stay, closes that wait, connects that fail early: as natively."""

from ebpf.test_closing import (
    test_a_close_that_leaves_the_rest_to_the_kernel_waits_for_nothing,
    test_a_close_waits_until_the_peer_has_read,
)
from ebpf.test_connects import (
    test_a_connect_that_a_firewall_forbids,
    test_a_connect_that_is_given_up_had_a_port,
    test_a_connection_that_the_administrator_aborts,
    test_connects_without_a_port_that_is_left,
)
from ebpf.test_in_call import (
    test_a_block_that_is_received_whole_counts_as_it_comes,
    test_a_block_that_keeps_coming_is_no_wait,
    test_a_large_send_counts_as_it_goes,
    test_what_a_call_moves_is_the_process_that_is_in_it,
)

__all__ = [
    "test_a_block_that_is_received_whole_counts_as_it_comes",
    "test_a_block_that_keeps_coming_is_no_wait",
    "test_a_close_that_leaves_the_rest_to_the_kernel_waits_for_nothing",
    "test_a_close_waits_until_the_peer_has_read",
    "test_a_connect_that_a_firewall_forbids",
    "test_a_connect_that_is_given_up_had_a_port",
    "test_a_connection_that_the_administrator_aborts",
    "test_a_large_send_counts_as_it_goes",
    "test_connects_without_a_port_that_is_left",
    "test_what_a_call_moves_is_the_process_that_is_in_it",
]
