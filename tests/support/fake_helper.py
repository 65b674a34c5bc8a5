"""A helper without a child: it answers as the test asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from xctl_probe.linux.helper import Late, Sent


class FakeHelper:
    """`answer` to everything, or what it returns for a request; `asked` has every request.

    What has no answer is late, and comes when the test calls `comes`.
    """

    def __init__(self, answer: Any = None, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.answer, self._clock = answer, clock
        self.asked: list[Any] = []
        self.unanswered: deque[Sent] = deque()
        self.late: list[Late] = []
        self._come: list[Late] = []
        self.is_full = False
        self.refuses = False  # as without a child
        self.closed = 0

    def ask(self, request: Any, wait_ns: int) -> Any | None:
        assert wait_ns >= 0
        self.asked.append(request)
        answer = self.answer(request) if callable(self.answer) else self.answer
        if answer is None and not self.refuses:
            self.unanswered.append(Sent(request, self._clock()))
        return answer

    def comes(self, answer: Any, read_ns: int | None = None) -> None:
        """Answer what was asked first of what has no answer; it was read now, or then."""
        sent = self.unanswered[len(self._come)]
        self._come.append(Late(sent, answer, self._clock() if read_ns is None else read_ns))

    def has(self, request: Any) -> bool:
        return any(sent.request == request for sent in self.unanswered)

    def collect(self) -> None:
        """Only now the answers that came late are there."""
        for late in self._come:
            self.unanswered.popleft()
            self.late.append(late)
        self._come.clear()

    def close(self) -> None:
        self.closed += 1
