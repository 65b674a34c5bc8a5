"""What the verifier has to follow, which is most of what a start costs the kernel."""

from __future__ import annotations

import ctypes as c

INFO_BYTES = 256
VERIFIED_AT = 216  # of struct bpf_prog_info in include/uapi/linux/bpf.h: verified_insns (5.16)
# What this takes is a little more in each newer kernel, and far more where a function that is
# called from many places is verified for each of them again.
MOST_OF_ONE, MOST_OF_ALL = 30_000, 110_000


def test_a_function_that_many_call_is_verified_once(watch):
    handles = watch().source._running.programs.handles()
    verified = {}
    for name, fd in handles.programs.items():
        info = c.create_string_buffer(INFO_BYTES)
        handles.get_info(fd, info, c.byref(c.c_uint32(INFO_BYTES)))
        verified[name] = int.from_bytes(info.raw[VERIFIED_AT : VERIFIED_AT + 4], "little")
    assert all(verified.values()), verified
    assert max(verified.values()) <= MOST_OF_ONE, verified
    assert sum(verified.values()) <= MOST_OF_ALL, verified
