"""Takes the README's pictures of `top` and `why`: real hangs, made here, on a real terminal.

Needs root, or user namespaces, and tmux; writes docs/images/*.svg.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rich.console import Console
from rich.text import Text
from support.install import CHECKOUT, Installed, install
from support.namespace import Namespace
from support.terminal import Terminal
from support.worker import Worker

FOLDER = CHECKOUT / "docs" / "images"
WIDTH, HEIGHT = 116, 20
MORE_THAN_BUFFERS = 20_000_003


class Scene:
    """Four programs on one loopback: one waits for an answer, one for a reader, one for packets."""

    def __init__(self, stack: ExitStack, installed: Installed) -> None:
        self._stack = stack
        self._installed = installed
        self.namespace = stack.enter_context(closing(Namespace()))

    def _worker(self, name: str) -> Worker:
        worker = Worker(self._installed.traffic, self.namespace, "blocking", comm=name.encode())
        return self._stack.enter_context(closing(worker))

    def _pair(self, client_name: str, server_name: str) -> tuple[Worker, Worker, int]:
        client, server = self._worker(client_name), self._worker(server_name)
        port = server.ask("listen")["port"]
        client.connect("127.0.0.1", port)
        server.ask("accept")
        return client, server, port

    def play(self) -> Worker:
        """Let it happen; the sender whose peer is stopped."""
        train, database, _ = self._pair("train", "postgres")
        train.tell("ask", 23, 29)
        database.ask("recv", 23)
        backup, storage, _ = self._pair("backup", "storage")
        os.kill(storage.pid, signal.SIGSTOP)
        backup.tell("send", MORE_THAN_BUFFERS)
        fetch, mirror, _ = self._pair("fetch", "mirror")
        fetch.tell("drain")
        mirror.tell("drip", 100_003, 30, 10_007)
        render, _, port = self._pair("render", "queue")
        self.namespace.drop_incoming(f"tcp dport {port}")
        render.tell("ask", 23, 29)
        return backup

    def terminal(self, *words: str, height: int) -> Terminal:
        command = [*self.namespace.command("root"), str(self._installed.command), *words]
        terminal = Terminal(command, WIDTH, height, {})
        return self._stack.enter_context(closing(terminal))


def take(screen: str, title: str, path: Path) -> None:
    """A screen with its escape sequences as a picture."""
    lines = [line.rstrip() for line in screen.splitlines()]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines).rstrip()), soft_wrap=True)
    path.write_text(console.export_svg(title=title))
    print(f"wrote {path.relative_to(CHECKOUT)}")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
        folder.chmod(0o755)
        scene = Scene(stack, install(folder))
        sender = scene.play()
        top = scene.terminal("top", height=HEIGHT)
        top.wait_for("WAITING 3", "peer_window", "loss", "no_reply", "RETRANSMIT")
        take(top.screen(styled=True), "xctl-probe-network top", FOLDER / "top.svg")
        why = scene.terminal("why", str(sender.pid), height=14)
        text = why.wait_for("does not read", "left with 0", "STOPPED")
        shown = text.partition("left with")[0]
        take(shown, f"xctl-probe-network why {sender.pid}", FOLDER / "why.svg")


if __name__ == "__main__":
    main()
