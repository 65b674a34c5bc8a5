"""Peers that are equals, and pongs, on every attach variant: as natively."""

from integration.test_equals import (
    test_a_server_does_not_wait_for_a_client_that_is_stopped,
    test_who_accepted_waits_for_an_equal_that_is_stopped,
)
from integration.test_pings import (
    test_a_wait_follows_an_upload_in_pieces,
    test_messages_without_a_reply_are_no_upload,
    test_pongs_ask_for_nothing,
    test_two_replies_that_are_read_at_once_leave_nothing_due,
    test_who_listens_and_pings_expects_nothing,
)

__all__ = [
    "test_a_server_does_not_wait_for_a_client_that_is_stopped",
    "test_a_wait_follows_an_upload_in_pieces",
    "test_messages_without_a_reply_are_no_upload",
    "test_pongs_ask_for_nothing",
    "test_two_replies_that_are_read_at_once_leave_nothing_due",
    "test_who_accepted_waits_for_an_equal_that_is_stopped",
    "test_who_listens_and_pings_expects_nothing",
]
