"""The blind spots that differ between the ways to attach, as tests/integration has them."""

from integration.test_blind_spots import (
    agrees,
    multipath,
    test_errors_of_connects,
    test_other_network_namespaces,
    test_repeated_answers_to_a_handshake,
    test_stalled_sends_by_multipath_tcp,
    test_the_interface_of_unconnected_udp,
    test_waits_for_a_reply_by_multipath_tcp,
    test_which_holder_of_a_socket_uses_it,
)

__all__ = [
    "agrees",
    "multipath",
    "test_errors_of_connects",
    "test_other_network_namespaces",
    "test_repeated_answers_to_a_handshake",
    "test_stalled_sends_by_multipath_tcp",
    "test_the_interface_of_unconnected_udp",
    "test_waits_for_a_reply_by_multipath_tcp",
    "test_which_holder_of_a_socket_uses_it",
]
