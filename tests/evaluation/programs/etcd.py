"""etcd: reads and writes of one key, a watch, and a lease that is renewed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from evaluation.process import Process
from evaluation.programs.service import SERVER, Service


class Etcd(Service):
    """etcd: reads, writes, a watch, and a lease that is renewed; by gRPC."""

    name = "etcd"
    needs = "etcd-server, and grpcio of PyPI"
    asking = ("get", "put")
    quiet = ("watch", "lease")
    faults: ClassVar = {
        "one": ("stop", "none", "idle", "drop", "none", "kill"),
        "several": ("stop", "none", "idle", "drop", "none", "kill"),
    }

    @classmethod
    def missing(cls) -> str:
        return cls.module("grpc") if shutil.which("etcd") else "apt-get install etcd-server"

    def serve(self) -> Process:
        data = Path(self.room.folder) / f"etcd-{self.room.layout}"
        data.mkdir(exist_ok=True)
        data.chmod(0o777)
        url = f"http://{self.room.address(0)}:{self.port}"
        # Members of a cluster would connect to the second one; here it only has to be free.
        peers = f"http://127.0.0.1:{self.port + 1}"
        server = self.room.spawn(
            SERVER, 0,
            [
                "etcd", "--data-dir", data / "data", "--log-level", "error",
                "--listen-client-urls", url, "--advertise-client-urls", url,
                "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
                "--initial-cluster", f"default={peers}",
            ],
        )  # fmt: skip
        self.wait_listens(server)
        return server

    def ask(self, name: str) -> None:
        self.library(name, 1, "etcd_client.py", name, self.room.address(0), self.port, name)
