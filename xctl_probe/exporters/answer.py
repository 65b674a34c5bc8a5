"""One answer to stdout, in full: for the commands that print and leave."""

from __future__ import annotations

import os

from xctl_probe.errors import ProbeError


def write_answer(fd: int, answer: bytes) -> None:
    """Write all of it; a reader that has left (`| head`) is no error.

    Raises ProbeError where it cannot be written (a full disk, a closed descriptor).
    """
    view = memoryview(answer)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        return
    except OSError as error:
        raise ProbeError(
            f"stdout cannot be written ({error.strerror}); make room, or send it elsewhere"
        ) from error
