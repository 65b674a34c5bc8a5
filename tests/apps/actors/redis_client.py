"""A client of redis in its own protocol: PORT pipeline|worker|push|set."""

from __future__ import annotations

import socket
import sys

from lines import emit, obey, repeat


def command(*words: bytes) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n" % len(words) + b"".join(parts)


def main() -> None:
    port, role = sys.argv[1:]
    sock = socket.create_connection(("127.0.0.1", int(port)))
    answers = sock.makefile("rb")

    def asked(*words: bytes) -> bytes:
        sock.sendall(command(*words))
        return answers.readline()

    def pipeline() -> None:
        sock.sendall(command(b"INCR", b"count") * 17)
        for _ in range(17):
            assert answers.readline().startswith(b":")

    if role == "pipeline":
        repeat(pipeline, 0.23)
    elif role == "push":
        repeat(lambda: asked(b"RPUSH", b"jobs", b"job"), 1.7)
    elif role == "worker":
        emit("ready")
        while True:  # a queue's worker: it waits for the next job in the server
            sock.sendall(command(b"BLPOP", b"jobs", b"0"))
            for _ in range(5):  # an array of two strings
                assert answers.readline()
    else:
        obey(lambda size: asked(b"SET", b"key", bytes(int(size))).decode().strip())


if __name__ == "__main__":
    main()
