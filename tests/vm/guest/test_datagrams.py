"""Who waits for a datagram or to send one: as natively, by every way to attach."""

from ebpf.test_datagrams import (
    test_a_datagram_that_waits_for_room_in_the_send_buffer,
    test_a_first_query_that_is_answered_late,
    test_a_query_after_an_empty_one,
    test_a_wait_is_over_with_its_socket,
    test_who_is_owed_nothing_is_silent,
)

__all__ = [
    "test_a_datagram_that_waits_for_room_in_the_send_buffer",
    "test_a_first_query_that_is_answered_late",
    "test_a_query_after_an_empty_one",
    "test_a_wait_is_over_with_its_socket",
    "test_who_is_owed_nothing_is_silent",
]
