"""The embedded engine: rows of a moment in DuckDB, and the queries of `sql/` on them.

The queries are written so that ClickHouse runs the same text (docs/fleet.md): names of functions
are its own, which DuckDB takes in any case, and parameters have its form.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.fleet.rows import Row
from xctl_probe.fleet.scan import to_ndjson

if TYPE_CHECKING:
    import duckdb

MEMORY = "512MB"
_THREADS = 2
_SQL = files("xctl_probe.fleet") / "sql"  # also in a zip
_PARAMETER = re.compile(r"\{(\w+):Int64\}")


def query_text(name: str) -> str:
    """Return a query of `sql/` as ClickHouse takes it."""
    return (_SQL / f"{name}.sql").read_text("utf-8")


class Engine:
    """Tables in memory, which may overflow to a directory of its own.

    Raises UsageError where DuckDB is not installed.
    """

    def __init__(self) -> None:
        try:
            import duckdb  # noqa: PLC0415 - 66 MiB, which only this needs
        except ImportError:
            raise UsageError(
                "blame FILE: needs DuckDB; pip install 'xctl-probe-network[fleet]'"
            ) from None
        self._error: type[Exception] = duckdb.Error
        self._folder = tempfile.TemporaryDirectory(prefix="xctl-fleet-")
        config: dict[str, Any] = {
            "memory_limit": MEMORY,
            "threads": _THREADS,
            "temp_directory": self._folder.name,
            # Nothing is fetched, whatever a query names.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection: duckdb.DuckDBPyConnection = duckdb.connect(config=config)
        self._connection.execute(query_text("schema"))

    def close(self) -> None:
        """Remove the tables.  Safe to call twice."""
        self._connection.close()
        self._folder.cleanup()

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Add rows to a table."""
        path = Path(self._folder.name) / f"{table}.ndjson"
        path.write_bytes(to_ndjson(rows))
        if path.stat().st_size:
            types = self._execute(
                "SELECT column_name, data_type FROM information_schema.columns "  # noqa: S608
                f"WHERE table_name = '{table}' ORDER BY ordinal_position"
            )
            columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types)
            self._execute(
                f"INSERT INTO {table} SELECT * FROM read_json('{path}', "  # noqa: S608 - ours
                f"format = 'newline_delimited', columns = {{{columns}}})"
            )
        path.unlink()

    def keep(self, name: str, parameters: Mapping[str, int]) -> None:
        """Keep the result of a query as a table of the same name."""
        self._execute(f"CREATE TABLE {name} AS {_filled(name, parameters)}")

    def table(self, name: str) -> list[Row]:
        """Return all rows of a table."""
        return self._rows(f"SELECT * FROM {name}")  # noqa: S608 - ours

    def rows(self, name: str, parameters: Mapping[str, int]) -> list[Row]:
        """Return the result of a query."""
        return self._rows(_filled(name, parameters))

    def _rows(self, text: str) -> list[Row]:
        found = self._execute(text)
        names = [one[0] for one in self._connection.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]

    def _execute(self, text: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(text).fetchall()
        except self._error as error:
            reason = str(error).splitlines()[0][:200]
            raise ProbeError(f"DuckDB: {reason}; give fewer files, or --since") from error


def _filled(name: str, parameters: Mapping[str, int]) -> str:
    return _PARAMETER.sub(lambda found: str(int(parameters[found[1]])), query_text(name))
