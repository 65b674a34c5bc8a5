"""The blind spots that differ between the ways to attach, as tests/integration has them."""

from integration.blind_spots.conftest import agrees
from integration.blind_spots.test_bytes import test_which_holder_of_a_socket_uses_it
from integration.blind_spots.test_connections import (
    test_errors_of_connects,
    test_repeated_answers_to_a_handshake,
)
from integration.blind_spots.test_multipath import (
    multipath,
    test_stalled_sends_by_multipath_tcp,
    test_waits_for_a_reply_by_multipath_tcp,
)
from integration.blind_spots.test_routes import test_the_interface_of_unconnected_udp
from integration.blind_spots.test_waits import test_other_network_namespaces

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
