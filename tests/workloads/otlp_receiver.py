"""A receiver of OTLP/HTTP that answers as it is asked to: `{"PATH": [STATUS, BODY, HEADERS]}`.

It prints its port, then a line for each request: path, headers and body.  A status of 0 stands
for no answer at all, as long as that lasts.  Bodies of answers and requests are in base64.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_changed = threading.Condition()
_answers: dict[str, list] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(sent)
        line = [self.path, dict(self.headers), base64.b64encode(body).decode()]
        with _changed:
            print(json.dumps(line), flush=True)
            _changed.wait_for(lambda: self._answer()[0])
            status, content, headers = self._answer()
        found = base64.b64decode(content)
        self.send_response(status)
        for name, value in {"Content-Type": "application/x-protobuf", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def _answer(self) -> list:
        return _answers.get(self.path, [200, "", {}])

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler)
    # The port is the first line even where a sender already knocks at it.
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for line in sys.stdin:
        with _changed:
            _answers.update(json.loads(line))
            _changed.notify_all()
            print(json.dumps("answers"), flush=True)


if __name__ == "__main__":
    main()
