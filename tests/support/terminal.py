"""A real terminal: tmux, driven by typing keys and reading the screen."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence

from support.require import require_tools

_number = itertools.count()
SHELL_PRINTS = "left with"
WAIT_S = 60.0  # only where a test fails: a program starts in it


class Terminal:
    """One command in a terminal of its own; `close` stops it and its server."""

    def __init__(
        self, words: Sequence[str], width: int, height: int, env: Mapping[str, str]
    ) -> None:
        require_tools("tmux")
        self._server = f"xctl-test-{os.getpid()}-{next(_number)}"
        settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
        command = (
            f"env -u NO_COLOR {settings} {shlex.join(words)}; echo {SHELL_PRINTS} $?; exec cat"
        )
        self._tmux("new-session", "-d", "-x", width, "-y", height, command)

    def _tmux(self, *words: object) -> str:
        done = subprocess.run(
            ["tmux", "-f", "/dev/null", "-L", self._server, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names (`Down`, `Enter`, `q`)."""
        for key in keys:
            self._tmux("send-keys", key)

    def type_text(self, text: str) -> None:
        """Press the keys of a text, a tab among them."""
        self._tmux("send-keys", "-l", "--", text)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", width, "-y", height)

    def screen(self, *, styled: bool = False) -> str:
        """What stands on the screen; `styled` with its escape sequences."""
        return self._tmux("capture-pane", "-p", *(["-e"] if styled else []))

    def wait_for(self, *texts: str, without: str = "", timeout: float = WAIT_S) -> str:
        """Wait until all of these stand on the screen; the screen."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.screen()
            if all(text in found for text in texts) and (not without or without not in found):
                return found
            assert time.monotonic() < deadline, f"no {texts} within {timeout} s:\n{found}"
            time.sleep(0.1)

    def pane_pid(self) -> int:
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-L", self._server, "kill-server"], capture_output=True, check=False
        )
