"""libbpf has one callback for its messages, in whatever part of the process it prints."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from xctl_probe.ebpf.libbpf import Library
library = Library()
calls = library.calls
del library
gc.collect()
assert calls.bpf_object__open_mem(b"no object", 9, None) is None
print("goes on")
"""


def test_a_message_after_its_library_is_gone_is_harmless():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
