"""What the clients share: commands come as lines on stdin, what was done goes to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def emit(text: object) -> None:
    print(text, flush=True)


def obey(do: Callable[..., object]) -> None:
    """Do what each line asks, until stdin is closed."""
    emit("ready")
    for line in sys.stdin:
        emit(do(*line.split()))


def repeat(do: Callable[[], object], every_s: float) -> None:
    """Do it again and again, for as long as anybody lets it live."""
    emit("ready")
    while True:
        do()
        time.sleep(every_s)
