"""Errors that a user can do something about: one line each, with the remedy in it."""

from __future__ import annotations


class ProbeError(Exception):
    """Base of all; its text is the one line that the user sees.  Exit code 1."""

    exit_code = 1


class UsageError(ProbeError):
    """Bad input: an option, a variable or a configuration file.  Exit code 2."""

    exit_code = 2


class SourceUnavailable(ProbeError):
    """A source cannot work here; the text names what is missing and what would help."""
