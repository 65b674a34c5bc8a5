"""What is known of peers belongs to its owner, however it is learned: as tests/attacks."""

from attacks.test_knowledge_of_peers import (
    other_user,
    test_another_user_s_unanswered_bytes_make_no_client_a_log_sender,
)

__all__ = ["other_user", "test_another_user_s_unanswered_bytes_make_no_client_a_log_sender"]
