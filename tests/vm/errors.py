"""What can go wrong around a guest, each with its remedy in the message."""

from __future__ import annotations


class KernelsError(Exception):
    """Base of this harness' errors; the text is one line for the person who ran it."""


class UnavailableError(KernelsError):
    """A kernel could not be had: no suite holds it, or the mirror could not be reached."""


class MissingProgramError(KernelsError):
    """A program of the host is missing and could not be installed."""


class GuestError(KernelsError):
    """A guest did not boot, ran out of time, or left no result."""
