"""The version of this installation."""

from __future__ import annotations

NAME = "xctl-probe-network"


def installed_version() -> str | None:
    """Return the version that is installed; None for a checkout that is not."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 13 ms

    try:
        return version(NAME)
    except PackageNotFoundError:
        return None
