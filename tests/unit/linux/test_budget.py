"""What is done on behalf of one user uses up no other process's account."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from xctl_probe.linux.budget import Budget

MS = 1_000_000


def test_an_account_is_open_until_it_owes_too_much():
    budget = Budget(share=0.01, ahead_ns=100 * MS)
    budget.charge(1, 99 * MS, 0)
    assert budget.allows(1, 0)
    budget.charge(1, 1 * MS, 0)
    assert not budget.allows(1, 0)
    assert budget.allows(2, 0)


def test_it_is_paid_a_share_of_the_time():
    budget = Budget(share=0.01, ahead_ns=100 * MS)
    budget.charge(1, 107 * MS, 0)
    assert not budget.allows(1, 690 * MS)
    assert budget.allows(1, 701 * MS)


def test_all_that_owe_are_paid_alike():
    """So a second user does not double what the probe takes."""
    budget = Budget(share=0.01, ahead_ns=100 * MS)
    for account in (1, 2):
        budget.charge(account, 107 * MS, 0)
    assert not budget.allows(1, 1_400 * MS)
    assert budget.allows(1, 1_410 * MS)
    assert budget.allows(2, 1_410 * MS)


def test_who_has_paid_is_forgotten_and_no_more_than_a_thousand_are_kept():
    budget = Budget(share=0.01, ahead_ns=100 * MS)
    for account in range(3_000):
        budget.charge(account, 101 * MS + account, 0)
    assert len(budget._owed_ns) == 1_024
    assert not budget.allows(2_998, 0)  # who owes most is kept
    assert budget.allows(2_998, 20_000_000 * MS)
    assert not budget._owed_ns


@pytest.fixture
def often_interrupted():
    """Threads take turns after each few instructions."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual_s)


def test_threads_may_use_it_at_a_time(often_interrupted):
    """A search that is late goes on beside the next one."""
    budget = Budget(share=0.01, ahead_ns=100 * MS)

    def use(user):
        for turn in range(20_000):
            budget.charge((user, turn % 50), 50 * MS, turn * 10 * MS)
            budget.allows((user, turn % 7), turn * 10 * MS)

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(use, user) for user in range(2)]:
            done.result()
