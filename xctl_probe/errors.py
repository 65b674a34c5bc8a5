"""Errors for the user: one line each, with the remedy."""

from __future__ import annotations

import errno

_SHORTAGES = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.ENOSPC)
)


class ProbeError(Exception):
    """Base class; the text is the line that the user sees.  Exit code 1."""

    exit_code = 1


class UsageError(ProbeError):
    """Bad input: an option, a variable or a configuration file.  Exit code 2."""

    exit_code = 2


class SourceUnavailable(ProbeError):
    """A source does not work here; the text names the reason and the remedy."""


def is_shortage(error: Exception) -> bool:
    """True where descriptors, memory or threads ran out: a retry may succeed."""
    if isinstance(error, MemoryError):
        return True
    return getattr(error, "errno", None) in _SHORTAGES or is_lack_of_threads(error)


def is_lack_of_threads(error: Exception) -> bool:
    """True for the RuntimeError that threading raises for EAGAIN; another one is a mistake."""
    return isinstance(error, RuntimeError) and "thread" in str(error)


def surroundings(error: Exception) -> str:
    """Return one line about a resource or file that this system lacks, with the remedy."""
    what = " ".join(str(error).split()) or type(error).__name__
    if is_shortage(error):
        remedy = "raise the limits of descriptors, memory and processes (ulimit -a)"
    elif str(getattr(error, "filename", "")).startswith("/proc"):
        remedy = "mount all of /proc (mount -t proc proc /proc, without subset=pid)"
    else:
        remedy = "see xctl-probe-network check"
    return f"this system refuses what the probe needs: {what}; {remedy}"


def lacks_library(error: ModuleNotFoundError) -> str:
    """Return one line about a library of the sampler that is missing, with the remedy."""
    name = error.name
    return (
        f"the sampler needs {name}, which is not installed: "
        f"install python3-{name} (apt) or {name} (pip)"
    )
