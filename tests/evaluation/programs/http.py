"""HTTP servers of Python's library, and clients that wait in recv, in poll and in epoll."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from evaluation.process import Process
from evaluation.programs.service import SERVER, Service


class Http(Service):
    """http.server, a thread for each connection; clients in recv, poll and epoll; downloads."""

    name = "http"
    kind: ClassVar[str] = "threads"
    asking = ("blocking", "polling", "loop", "fresh")
    loading = ("download", "loop-download")
    faults: ClassVar = {
        "one": (
            "stop", "none", "lose", "idle", "compute", "slow", "break", "none", "sleep", "drop",
            "deadlock", "disk", "kill",
        ),
        "several": (
            "stop", "none", "lose", "idle", "break", "slow", "drop", "none", "compute", "sleep",
            "deadlock", "disk", "kill",
        ),
    }  # fmt: skip

    def serve(self) -> Process:
        address = self.room.address(0)
        server = self.python(SERVER, 0, "http_server.py", address, self.port, self.kind)
        server.wait_for(lambda event: event.get("ready"))
        return server

    def ask(self, name: str) -> None:
        self.python(name, 1, "http_client.py", name, self.room.address(0), self.port, name)


class HttpLoop(Http):
    """The clients of `http` with a server of one event loop (asyncio)."""

    name = "http-loop"
    kind = "loop"


class Https(Http):
    """`http` over TLS 1.3, with a certificate of its own."""

    name = "https"

    def serve(self) -> Process:
        certificate = Path(self.room.folder) / "certificate.pem"
        if not certificate.exists():
            subprocess.run(
                [
                    "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=evaluation", "-keyout", certificate, "-out", certificate, "-days", "2",
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            certificate.chmod(0o644)
        server = self.python(
            SERVER, 0, "http_server.py", self.room.address(0), self.port, self.kind, certificate
        )
        server.wait_for(lambda event: event.get("ready"))
        return server

    def ask(self, name: str) -> None:
        address = self.room.address(0)
        self.python(name, 1, "http_client.py", name, address, self.port, name, "tls")
