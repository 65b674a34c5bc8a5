"""An HTTP client with one connection that is kept alive: PORT PATH [EVERY_S]."""

from __future__ import annotations

import http.client
import sys

from lines import obey, repeat


def main() -> None:
    port, path, *every_s = sys.argv[1:]
    connection = http.client.HTTPConnection("127.0.0.1", int(port))

    def ask(body_bytes: str = "0") -> str:
        method = "POST" if int(body_bytes) else "GET"
        connection.request(method, path, body=bytes(int(body_bytes)) or None)
        response = connection.getresponse()
        response.read()
        return f"answered {response.status}"

    ask()
    if every_s:
        repeat(ask, float(every_s[0]))
    obey(ask)


if __name__ == "__main__":
    main()
