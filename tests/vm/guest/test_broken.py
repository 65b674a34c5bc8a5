"""Networks that break in the middle, and calls that return nothing: as tests/integration."""

from integration.test_broken import (
    test_a_half_closed_client_waits_for_its_answer,
    test_a_hole_in_a_download,
    test_a_host_that_is_nowhere,
    test_a_peer_that_vanishes,
    test_a_reset_in_mid_stream,
)
from integration.test_calls import (
    test_a_receive_that_signals_interrupt,
    test_a_receive_with_a_timeout_that_is_made_again,
    test_a_send_that_signals_interrupt,
    test_each_thread_waits_on_a_socket_of_its_own,
)
from integration.test_loss import test_retransmits_that_could_not_leave_are_none
from integration.test_pings import (
    test_pings_into_a_cut_line_prove_nothing_about_who_answers,
    test_pings_while_the_peer_hangs_do_not_begin_the_wait_anew,
)
from integration.test_reused_sockets import (
    test_a_connect_that_failed_is_tried_again,
    test_a_connection_by_a_socket_that_had_another,
)

__all__ = [
    "test_a_connect_that_failed_is_tried_again",
    "test_a_connection_by_a_socket_that_had_another",
    "test_a_half_closed_client_waits_for_its_answer",
    "test_a_hole_in_a_download",
    "test_a_host_that_is_nowhere",
    "test_a_peer_that_vanishes",
    "test_a_receive_that_signals_interrupt",
    "test_a_receive_with_a_timeout_that_is_made_again",
    "test_a_reset_in_mid_stream",
    "test_a_send_that_signals_interrupt",
    "test_each_thread_waits_on_a_socket_of_its_own",
    "test_pings_into_a_cut_line_prove_nothing_about_who_answers",
    "test_pings_while_the_peer_hangs_do_not_begin_the_wait_anew",
    "test_retransmits_that_could_not_leave_are_none",
]
