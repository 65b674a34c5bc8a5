"""nginx under wrk: two workers and two clients on as many cores as there are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench.place import as_anybody
from bench.servers import server
from bench.spent import spent
from bench.traffic import Outcome
from bench.traffic.programs import build_folder

_PORT = 8731
_CONNECTIONS = 64
_CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ return 200 "{body}"; }} }}
}}
"""
_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True, slots=True)
class Web:
    """A keep-alive client of 64 connections asks for 612 bytes, as fast as it goes."""

    server_pid: int

    def run(self, seconds: float) -> Outcome:
        """wrk's own figures; it counts whole seconds."""
        with spent(self.server_pid) as cpu:
            done = subprocess.run(
                [*as_anybody(), "wrk", "-t2", f"-c{_CONNECTIONS}", f"-d{max(round(seconds), 1)}s",
                 "--latency", f"http://127.0.0.1:{_PORT}/"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        return replace(parse(done.stdout), cpu_seconds=cpu.seconds)


def parse(text: str) -> Outcome:
    """What `wrk --latency` prints."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in ([\d.]+)s", text)
    assert rate is not None, text
    assert count is not None, text
    return Outcome(
        float(rate[1]),
        _percentile(text, "50%"),
        _percentile(text, "99%"),
        # Each request is sent and received, and so is each answer.
        4 * int(count[1]),
        float(count[2]),
    )


def _percentile(text: str, name: str) -> float | None:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * _UNITS_US[found[2]] if found else None


@contextmanager
def web() -> Iterator[Web]:
    """nginx, serving."""
    folder = build_folder()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=_PORT, body="x" * 612))
    command = ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"]
    with server(command, _PORT) as process:
        yield Web(process.pid)
