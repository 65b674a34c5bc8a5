"""HTTP clients in other languages than Python: Node and Java."""

from __future__ import annotations

import shutil
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
