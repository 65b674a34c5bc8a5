"""Every way that bytes take, as tests/integration has it.

Where these functions are called from changed much between the kernels (tcp_sendpage went
with 6.5, for one), so each way runs on each.
"""

from integration.test_paths import test_each_way_is_counted_once_or_is_a_declared_blind_spot

__all__ = ["test_each_way_is_counted_once_or_is_a_declared_blind_spot"]
