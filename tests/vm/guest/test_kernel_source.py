"""Losses that are counted, whose a socket is, and TLS, of the kernel source itself: as natively."""

from ebpf.test_bytes import (
    test_a_passed_socket_belongs_to_who_uses_it,
    test_two_processes_on_one_socket_have_each_their_own,
)
from ebpf.test_connects import (
    test_a_connect_by_multipath_tcp_is_one_wait,
    test_a_connect_by_the_first_send_waits_from_that_on,
    test_a_path_that_the_kernel_adds_is_no_wait_of_its_worker,
)
from ebpf.test_figures import test_what_is_known_of_a_socket_of_multipath_tcp_goes_with_it
from ebpf.test_http2 import (
    test_frames_of_the_libraries_leave_a_wait_as_it_is,
    test_the_first_request_after_the_settings_were_acknowledged,
    test_who_has_acknowledged_the_settings_waits_for_nothing,
    test_who_updates_the_window_after_a_download_waits_for_nothing,
)
from ebpf.test_losses import (
    test_a_full_map_of_processes_is_counted_to_the_call,
    test_a_full_ring_is_counted_to_the_record,
    test_a_send_that_has_returned_takes_no_room,
)
from ebpf.test_owners import (
    test_a_number_that_is_used_again_is_another_process,
    test_a_process_in_a_namespace_below_has_the_number_that_we_see,
    test_a_socket_that_no_descriptor_holds,
    test_open_sockets_have_their_owner_before_they_do_anything,
)
from ebpf.test_stalls import (
    test_a_client_that_has_not_read_what_would_wake_no_reader,
    test_a_client_that_waits_for_more_than_has_come,
    test_a_sender_that_may_queue_little,
    test_who_accepted_before_the_start_waits_for_nothing,
)
from ebpf.test_tls import (
    test_a_client_that_has_no_request_waits_for_nothing,
    test_a_request_over_tls,
)

__all__ = [
    "test_a_client_that_has_no_request_waits_for_nothing",
    "test_a_client_that_has_not_read_what_would_wake_no_reader",
    "test_a_client_that_waits_for_more_than_has_come",
    "test_a_connect_by_multipath_tcp_is_one_wait",
    "test_a_connect_by_the_first_send_waits_from_that_on",
    "test_a_full_map_of_processes_is_counted_to_the_call",
    "test_a_full_ring_is_counted_to_the_record",
    "test_a_number_that_is_used_again_is_another_process",
    "test_a_passed_socket_belongs_to_who_uses_it",
    "test_a_path_that_the_kernel_adds_is_no_wait_of_its_worker",
    "test_a_process_in_a_namespace_below_has_the_number_that_we_see",
    "test_a_request_over_tls",
    "test_a_send_that_has_returned_takes_no_room",
    "test_a_sender_that_may_queue_little",
    "test_a_socket_that_no_descriptor_holds",
    "test_frames_of_the_libraries_leave_a_wait_as_it_is",
    "test_open_sockets_have_their_owner_before_they_do_anything",
    "test_the_first_request_after_the_settings_were_acknowledged",
    "test_two_processes_on_one_socket_have_each_their_own",
    "test_what_is_known_of_a_socket_of_multipath_tcp_goes_with_it",
    "test_who_accepted_before_the_start_waits_for_nothing",
    "test_who_has_acknowledged_the_settings_waits_for_nothing",
    "test_who_updates_the_window_after_a_download_waits_for_nothing",
]
