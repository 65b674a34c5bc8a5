"""PostgreSQL; psql in an open transaction, one that listens, one that asks."""

from __future__ import annotations

from pathlib import Path

from place import Place
from support.program import Program
from support.require import require

OPTIONS = (
    "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=1MB",
    "max_connections=11", "autovacuum=off", "max_wal_senders=0", "wal_level=minimal",
)  # fmt: skip


class Postgres:
    """`asks` is a psql that has asked before; its backend is a process of its own."""

    def __init__(self, place: Place) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        require(programs, "postgres is not installed (Debian: postgresql)")
        binaries = programs[-1].parent
        folder, self.port = place.own("postgres"), place.port()
        words = (binaries / "initdb", "-D", folder / "data", "-U", "test", "-A", "trust", "-N")
        initdb = place.start("postgres: initdb", *words)
        initdb.process.stdin.close()
        assert initdb.process.wait(60) == 0
        place.programs.remove(initdb)
        settings = [word for option in OPTIONS for word in ("-c", option)]
        data = ("-D", folder / "data", "-p", self.port)
        self.server = place.start("postgres: server", binaries / "postgres", *data, *settings)
        self.server.expect("ready to accept connections")  # it listens before that
        self._binaries = binaries
        self.asks = self._psql(place, "postgres: asking")
        self._backend = int(self.asks.ask("select 'pid', pg_backend_pid();", "pid|").split("|")[1])
        transaction = self._psql(place, "postgres: idle in transaction")
        transaction.ask("begin; select 'seven';", "seven")
        self._psql(place, "postgres: LISTEN").ask("listen news; select 'seven';", "seven")

    def _psql(self, place: Place, name: str) -> Program:
        where = ("-h", "127.0.0.1", "-p", self.port, "-U", "test", "postgres")
        psql = place.start(name, self._binaries / "psql", "-XqAt", *where)
        psql.ask("select 'hello';", "hello")
        return psql

    def workers(self) -> list[int]:
        """The backend that serves `asks`."""
        return [self._backend]
