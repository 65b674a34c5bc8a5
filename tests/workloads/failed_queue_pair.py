"""Makes a queue pair, lets it fail, and keeps it: failed_queue_pair.py DEVICE.  Prints `ready`.

By libibverbs itself: perftest leaves when its queue pair fails, and its retries on rxe never end.
The offsets are those of struct ibv_qp_init_attr and ibv_qp_attr, infiniband/verbs.h.
"""

from __future__ import annotations

import ctypes
import signal
import struct
import sys

RC, INIT, ERR = 2, 1, 6
STATE, ACCESS_FLAGS, PKEY_INDEX, PORT = 1, 8, 16, 32


def main() -> None:
    verbs = ctypes.CDLL("libibverbs.so.1", use_errno=True)
    for name in ["get_device_list", "open_device", "alloc_pd", "create_cq", "create_qp"]:
        getattr(verbs, f"ibv_{name}").restype = ctypes.c_void_p
    verbs.ibv_get_device_name.restype = ctypes.c_char_p

    def made(name: str, *arguments: object) -> ctypes.c_void_p:
        pointer = getattr(verbs, f"ibv_{name}")(*arguments)
        assert pointer, f"ibv_{name}: errno {ctypes.get_errno()}"
        return ctypes.c_void_p(pointer)

    listed = ctypes.cast(made("get_device_list", None), ctypes.POINTER(ctypes.c_void_p))
    names = iter(ctypes.c_void_p(one) for one in listed)
    device = next(one for one in names if verbs.ibv_get_device_name(one).decode() == sys.argv[1])
    context = made("open_device", device)
    domain = made("alloc_pd", context)
    completions = made("create_cq", context, 4, None, None, 0)
    queue = completions.value
    attributes = struct.pack("=QQQQIIIIIIi", 0, queue, queue, 0, 4, 4, 1, 1, 0, RC, 0)
    pair = made("create_qp", domain, ctypes.create_string_buffer(attributes, 128))

    def enter(state: int, mask: int) -> None:
        change = ctypes.create_string_buffer(struct.pack("=I125xB", state, 1), 256)
        code = verbs.ibv_modify_qp(pair, change, mask)
        assert code == 0, f"ibv_modify_qp: errno {code}"

    enter(INIT, STATE | ACCESS_FLAGS | PKEY_INDEX | PORT)
    enter(ERR, STATE)
    print("ready", flush=True)
    signal.pause()


main()
