"""A real program under test: its lines, its pid, its end."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from support.namespace import spawn

ANSWER_S = 30.0


class Program:
    """A running program, driven by lines on its stdin; its output is kept line by line."""

    def __init__(self, name: str, command: Sequence[str], **options: Any) -> None:
        self.name = name
        self.process = spawn(command, **options)
        self.pid = self.process.pid
        self._lines: queue.Queue[bytes | None] = queue.Queue()  # None: one of the two has ended
        self._ended = 0
        self._heard: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._read, args=(pipe,), daemon=True)
            for pipe in (self.process.stdout, self.process.stderr)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, line: str | bytes) -> None:
        raw = line if isinstance(line, bytes) else line.encode() + b"\n"
        self.process.stdin.write(raw)
        self.process.stdin.flush()

    def expect(self, word: str, timeout: float = ANSWER_S) -> str:
        """The next line with this word in it; its output where none comes."""
        deadline = time.monotonic() + timeout
        while self._ended < len(self._threads):
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                break
            if line is None:
                self._ended += 1
            elif word.encode() in line:
                return line.decode(errors="replace")
        heard = b"".join(self._heard).decode(errors="replace")
        raise AssertionError(f"{self.name}: no {word!r}, but: {heard}")

    def ask(self, line: str | bytes, word: str) -> str:
        self.send(line)
        return self.expect(word)

    def end(self) -> None:
        """As a service is stopped, by its pid; killed where it does not go."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(60)
            except Exception:
                self.process.kill()
                self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def _read(self, pipe: Any) -> None:
        try:
            while part := os.read(pipe.fileno(), 65_536):
                for line in part.splitlines(keepends=True):
                    self._heard.append(line)
                    self._lines.put(line)
        except (OSError, ValueError):  # closed meanwhile
            pass
        self._lines.put(None)


def children(pid: int) -> list[int]:
    """proc(5): task/<tid>/children."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]
