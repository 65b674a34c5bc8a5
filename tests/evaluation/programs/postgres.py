"""PostgreSQL: queries, and a listener that waits for notifications."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from evaluation.process import JobError, Process
from evaluation.programs.base import PYTHON
from evaluation.programs.service import SERVER, Service


class Postgres(Service):
    """PostgreSQL: queries, and a listener; a stop stops the backends as well."""

    name = "postgresql"
    needs = "postgresql, and Debian's python3-psycopg2"
    asking = ("query", "notify")
    quiet = ("listen",)
    faults: ClassVar = {
        "one": ("stop", "none", "idle", "none"),
        "several": ("stop", "none", "drop", "idle"),
    }

    @classmethod
    def missing(cls) -> str:
        done = subprocess.run([PYTHON, "-c", "import psycopg2"], capture_output=True, check=False)
        if _programs() and done.returncode == 0:
            return ""
        return "apt-get install postgresql python3-psycopg2"

    def serve(self) -> Process:
        data, programs = Path(self.room.folder) / f"postgres-{self.room.layout}", _programs()
        if not data.exists():
            data.mkdir()
            data.chmod(0o777)
            inside = self.room.namespace(0).command()
            words = [programs / "initdb", "-D", data / "data", "-U", "job", "-A", "trust", "-N"]
            done = subprocess.run([*inside, *words], capture_output=True, text=True, check=False)
            if done.returncode:
                raise JobError(f"initdb: {done.stderr}")
            hba = data / "data/pg_hba.conf"
            hba.write_text("host all all 0.0.0.0/0 trust\n")
        server = self.room.spawn(
            SERVER, 0,
            [
                programs / "postgres", "-D", data / "data", "-p", self.port, "-F",
                "-h", self.room.address(0), "-c", "unix_socket_directories=",
            ],
        )  # fmt: skip
        self.wait_listens(server)
        return server

    def ask(self, name: str) -> None:
        self.python(name, 1, "postgres_client.py", name, self.room.address(0), self.port, name)


def _programs() -> Path | None:
    """The folder of the newest installed PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None
