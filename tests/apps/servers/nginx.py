"""nginx with one worker, and clients that keep their connections."""

from __future__ import annotations

from place import Place
from support.program import Program, children
from support.require import require_tools

CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;
events {{ }}
http {{
    access_log off; keepalive_timeout 1h; client_max_body_size 0; keepalive_requests 1000000;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "here\\n"; }}
        # A body is taken only where it goes somewhere: to ourselves.
        location /upload {{ proxy_pass http://127.0.0.1:{port}/; }}
    }}
}}
"""


class Nginx:
    """`asks`: a client that asks on demand; `uploads`: one that can send much."""

    def __init__(self, place: Place) -> None:
        require_tools("nginx")
        folder, self.port = place.own("nginx"), place.port()
        config = place.folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=self.port))
        self.server = place.start("nginx: server", "nginx", "-e", "stderr", "-c", config)
        place.wait_listening(self.port)
        self.asks = place.actor("nginx: keep-alive", "http_client.py", self.port, "/")
        self.uploads = place.actor("nginx: upload", "http_client.py", self.port, "/upload")
        place.actor("nginx: regular", "http_client.py", self.port, "/", 0.37)
        self.clients: list[Program] = [self.asks, self.uploads]

    def workers(self) -> list[int]:
        """Who serves: the children of the first process."""
        return children(self.server.pid)
