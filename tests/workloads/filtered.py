"""Run a command behind a seccomp filter: `filtered.py COMMAND [ARGUMENT ...]`.

The filter refuses bpf(2) and AF_NETLINK with EPERM, as the profile of a container does.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

SOCKET_CALL, BPF_CALL = {"x86_64": (41, 321), "aarch64": (198, 280)}[os.uname().machine]
AF_NETLINK = 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
# Classic BPF on struct seccomp_data: the number of the call is at 0, its first argument at 16.
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE_EPERM = 0x7FFF0000, 0x00050001
PROGRAM = [
    (LOAD, 0, 0, 0),
    (JUMP_EQUAL, 4, 0, BPF_CALL),
    (JUMP_EQUAL, 0, 2, SOCKET_CALL),
    (LOAD, 0, 0, 16),
    (JUMP_EQUAL, 1, 0, AF_NETLINK),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, REFUSE_EPERM),
]


class Filter(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in PROGRAM))
    seccomp = Filter(len(PROGRAM), ctypes.addressof(code))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    installed = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(seccomp), 0, 0)
    assert installed == 0, os.strerror(ctypes.get_errno())
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
