"""A thread that sleeps in the kernel, one that gets no processor, and one that works."""

from __future__ import annotations

import pytest

from xctl_probe.linux.thread_delay import Delay, ThreadDelay

MS = 1_000_000


class FakeThread:
    def __init__(self, folder):
        self.folder = folder
        self.ran_ns, self.queued_ns, self.slices = 71 * MS, 23 * MS, 7
        self.delay = ThreadDelay(str(folder))
        self.now_ms = 1_000

    def after(self, ms, state):
        """What is found that much later."""
        self.now_ms += ms
        (self.folder / "stat").write_text(f"7 (reader of) /proc) {state} 1 7 7")
        (self.folder / "schedstat").write_text(f"{self.ran_ns} {self.queued_ns} {self.slices}\n")
        return self.delay.observe(self.now_ms * MS)

    def runs(self, ran_ms, queued_ms=0):
        self.ran_ns += ran_ms * MS
        self.queued_ns += queued_ms * MS
        self.slices += 1


@pytest.fixture
def thread(tmp_path):
    return FakeThread(tmp_path)


def test_one_sleep_lasts_from_the_first_observation_on(thread):
    assert thread.after(0, "D") == Delay()
    assert thread.after(100, "D") == Delay(blocked_ns=100 * MS)
    assert thread.after(230, "D") == Delay(blocked_ns=330 * MS)
    assert thread.after(100, "S") == Delay()


def test_many_short_sleeps_are_not_one(thread):
    thread.after(0, "D")
    for _ in range(5):
        thread.runs(1)
        assert thread.after(100, "D") == Delay()
    assert thread.after(70, "D") == Delay(blocked_ns=70 * MS)


def test_time_in_the_queue_is_counted_also_before_it_is_over(thread):
    assert thread.after(0, "R") == Delay()
    assert thread.after(300, "R") == Delay(queued_ns=300 * MS)
    thread.runs(3, queued_ms=350)
    assert thread.after(53, "R") == Delay(queued_ns=350 * MS)
    assert thread.after(100, "R") == Delay(queued_ns=450 * MS)


def test_who_works_is_not_queued(thread):
    for _ in range(5):
        thread.ran_ns += 100 * MS
        assert thread.after(100, "R") == Delay()


def test_where_the_kernel_counts_nothing_only_the_sleep_is_seen(thread):
    thread.ran_ns = thread.queued_ns = thread.slices = 0
    thread.after(0, "R")
    assert thread.after(300, "R") == Delay()
    thread.after(10, "D")
    assert thread.after(310, "D") == Delay(blocked_ns=310 * MS)


def test_it_is_read_at_most_every_ten_milliseconds(thread):
    thread.after(0, "D")
    assert thread.after(9, "D") == Delay()
    assert thread.after(1, "D") == Delay(blocked_ns=10 * MS)


def test_a_thread_that_is_gone_is_not_delayed(tmp_path):
    delay = ThreadDelay(str(tmp_path / "gone"))
    assert delay.observe(MS) == delay.observe(300 * MS) == Delay()
