"""Which errors are a shortage that may pass, and which are a mistake."""

from __future__ import annotations

import errno

import pytest

from xctl_probe.errors import is_shortage


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EMFILE, "too many open files"), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("dictionary changed size during iteration"), False),
        (OSError(errno.EIO, "I/O error"), False),
    ],
)
def test_a_mistake_is_no_shortage(error, passes):
    assert is_shortage(error) == passes
