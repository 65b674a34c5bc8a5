"""nginx as a proxy between HTTP clients and a server: a chain of waits."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import ClassVar

from evaluation.process import JobError
from evaluation.programs.http import Http
from evaluation.programs.service import REPLY, SERVER
from evaluation.truth import RECEIVE, Truth, Wait

PROXY = "nginx"
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream server {{ server {server}; keepalive 32; }}
  server {{
    listen {proxy};
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 120s; proxy_send_timeout 120s;
      proxy_set_header X-Client $http_x_client;
    }}
  }}
}}
"""


class Nginx(Http):
    """nginx as a proxy between the clients of `http` and its server, which has the faults."""

    name = "nginx"
    needs = "nginx"
    hosts = 3
    watched = (1, 2)
    awaited = PROXY
    faults: ClassVar = {
        "one": ("stop", "none", "idle", "compute", "slow", "break", "none", "deadlock"),
        "several": ("stop", "none", "idle", "break", "slow", "compute", "none", "sleep"),
    }

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("nginx") else "apt-get install nginx-light"

    def ask(self, name: str) -> None:
        if PROXY not in self.room.processes:
            self._proxy()
        address = self.room.address(2)
        self.python(name, 1, "http_client.py", name, address, self.port + 1, name)

    def _proxy(self) -> None:
        folder = Path(self.room.folder) / f"nginx-{self.port}-{self.room.layout}"
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        (folder / "nginx.conf").write_text(
            CONFIGURATION.format(
                folder=folder,
                server=f"{self.room.address(0)}:{self.port}",
                proxy=f"{self.room.address(2)}:{self.port + 1}",
            )
        )
        words = ["nginx", "-p", folder, "-c", folder / "nginx.conf"]
        proxy = self.room.spawn(PROXY, 2, words)
        listens = f"{self.room.address(2)}:{self.port + 1}", "*"
        deadline = time.monotonic() + 10
        while listens not in self.room.sockets():
            if time.monotonic() > deadline or proxy.dead:
                raise JobError(f"nginx does not listen: {proxy.story()}")
            time.sleep(0.1)

    def truth(self, fault: str, target: str) -> Truth:
        truth = super().truth(fault, target)
        if not truth.must:
            return truth
        server = frozenset({SERVER})
        proxy = Wait(PROXY, server, frozenset({RECEIVE}), REPLY | {None})
        return Truth((*truth.must, proxy), truth.may, server)
