"""HTTP clients in other languages than Python: Node, Java and Go."""

from __future__ import annotations

import shutil
import subprocess
from typing import ClassVar

from evaluation.programs.base import WORKLOADS
from evaluation.programs.http import Http

JAVA = ("java", "-XX:TieredStopAtLevel=1", "-Xmx128m")


class Languages(Http):
    """The server of `http` with clients of Node (epoll) and Java (selector and futexes)."""

    name = "http-node-java"
    needs = "nodejs and a JDK"
    asking = ("node", "java")
    loading = ("node-download", "java-download")
    faults: ClassVar = {
        "one": ("stop", "none", "lose", "idle", "break", "none", "deadlock"),
        "several": ("stop", "none", "break", "idle", "lose", "none", "drop"),
    }

    @classmethod
    def missing(cls) -> str:
        absent = [word for word in ("node", "java", "javac") if not shutil.which(word)]
        return "apt-get install nodejs default-jdk-headless" if absent else ""

    def ask(self, name: str) -> None:
        arguments = [name, self.room.address(0), self.port, name]
        if name.startswith("node"):
            self.room.spawn(name, 1, ["node", WORKLOADS / "http_client.js", *arguments])
        else:
            self.room.spawn(name, 1, [*JAVA, WORKLOADS / "HttpClient.java", *arguments])


class HttpGo(Http):
    """The server of `http` with clients of Go, whose runtime waits in epoll for all of them."""

    name = "http-go"
    needs = "golang-go"
    asking = ("go",)
    loading = ("go-download",)
    faults: ClassVar = Languages.faults

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("go") else "apt-get install golang-go"

    def start(self) -> None:
        # As root, whose cache of compiled packages stays: the clients' user has no home.
        self.program = self.room.folder / "http_client"
        source = WORKLOADS / "http_client.go"
        subprocess.run(["go", "build", "-o", self.program, source], check=True, cwd="/tmp")
        super().start()

    def ask(self, name: str) -> None:
        words = [self.program, name, self.room.address(0), self.port, name]
        self.room.spawn(name, 1, words)
