"""The capabilities of this thread, and giving them up.  capabilities(7), capset(2), prctl(2).

Each thread has sets of its own, and a thread or child inherits those of its creator.  So they are
given up before the first thread starts.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from contextlib import suppress

DAC_OVERRIDE, READ_SEARCH, BIND = "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_NET_BIND_SERVICE"
PTRACE, ADMIN, SYSLOG = "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_SYSLOG"
NET_ADMIN = "CAP_NET_ADMIN"
PERFMON, BPF = "CAP_PERFMON", "CAP_BPF"
# include/uapi/linux/capability.h
BITS = {
    DAC_OVERRIDE: 1,
    READ_SEARCH: 2,
    BIND: 10,
    NET_ADMIN: 12,
    PTRACE: 19,
    ADMIN: 21,
    SYSLOG: 34,
    PERFMON: 38,
    BPF: 39,
}
# What else includes a capability: CAP_SYS_ADMIN those that Linux 5.8 split off it.
_INCLUDED_IN = {READ_SEARCH: DAC_OVERRIDE, PERFMON: ADMIN, BPF: ADMIN}

_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words for each set
_MOST = 64
# include/uapi/linux/prctl.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def names(bits: int) -> frozenset[str]:
    """Return the known capabilities of a set, with those that others include."""
    found = {name for name, bit in BITS.items() if bits >> bit & 1}
    return frozenset(found | {name for name, other in _INCLUDED_IN.items() if other in found})


def forbid_new() -> None:
    """Let no program that this process executes get more: it executes none.  Raises OSError.

    no_new_privs, and an empty bounding set where CAP_SETPCAP is in effect.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with suppress(OSError):  # EINVAL past the last one, EPERM
        for number in range(_MOST):
            if _prctl(_PR_CAPBSET_READ, number):
                _prctl(_PR_CAPBSET_DROP, number)


def set_effective(wanted: Collection[str]) -> None:
    """Leave only these in effect, of those that are permitted.  Raises OSError."""
    permitted = _permitted()
    _capset(_kept(wanted, permitted), permitted)


def keep_only(wanted: Collection[str]) -> None:
    """Give up all capabilities but these, for good.  Raises OSError.

    None stays inheritable, and so none ambient.
    """
    kept = _kept(wanted, _permitted())
    _capset(kept, kept)


def give_up(name: str) -> None:
    """Give up one more capability, for good.  Raises OSError."""
    kept = _permitted() & ~(1 << BITS[name])
    _capset(kept, kept)


def _kept(wanted: Collection[str], permitted: int) -> int:
    kept = 0
    for name in wanted:
        bit = 1 << BITS[name]
        if not permitted & bit and name in _INCLUDED_IN:
            bit = 1 << BITS[_INCLUDED_IN[name]]
        kept |= bit & permitted
    return kept


def _permitted() -> int:
    words = (_Word * 2)()
    _call("capget", words)
    return int(words[0].permitted | words[1].permitted << 32)


def _capset(effective: int, permitted: int) -> None:
    words = (_Word * 2)()
    for index, word in enumerate(words):
        word.effective = effective >> 32 * index & 0xFFFFFFFF
        word.permitted = permitted >> 32 * index & 0xFFFFFFFF
    _call("capset", words)


def _call(name: str, words: ctypes.Array[_Word]) -> None:
    header = _Header(_VERSION_3, 0)
    call = getattr(ctypes.CDLL(None, use_errno=True), name)
    if call(ctypes.byref(header), ctypes.byref(words)):
        raise _error()


def _prctl(option: int, argument: int) -> int:
    zero = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero)
    if result < 0:
        raise _error()
    return int(result)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
