"""A test that cannot run here skips with the reason, or fails where it must run (in CI)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_MPTCP = Path("/proc/sys/net/mptcp/enabled")


def require(condition: object, what: str) -> None:
    """Skip unless `condition`; with XCTL_TEST_REQUIRE=1, fail.  `what` names the remedy."""
    if condition:
        return
    if os.environ.get("XCTL_TEST_REQUIRE") == "1":
        pytest.fail(f"XCTL_TEST_REQUIRE=1, and {what}", pytrace=False)
    pytest.skip(f"NOT TESTED: {what}")


def require_tools(*names: str) -> None:
    for name in names:
        require(shutil.which(name), f"{name} is not installed")


def need_multipath() -> None:
    """Skip where the kernel makes no sockets of Multipath TCP."""
    if not _MPTCP.exists() or _MPTCP.read_text().strip() != "1":
        pytest.skip("this kernel has no MPTCP")
