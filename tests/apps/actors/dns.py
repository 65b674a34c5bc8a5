"""A name server that knows all names, and who asks a resolver: upstream PORT | client PORT.

RFC 1035: a header of twelve bytes, the question, and in an answer the address behind it.
"""

from __future__ import annotations

import itertools
import socket
import struct
import sys

from lines import emit, obey, repeat

HEADER = struct.Struct("!6H")
TYPE_A_CLASS_IN = struct.pack("!HH", 1, 1)
# A pointer to the question's name; type, class, a time to live of none; 127.0.0.7
ADDRESS = struct.pack("!HHHIH4B", 0xC00C, 1, 1, 0, 4, 127, 0, 0, 7)


def serve(port: int) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", port))
    emit("ready")
    while True:
        question, back = server.recvfrom(512)
        number = HEADER.unpack_from(question)[0]
        end = question.index(b"\0", HEADER.size) + 1 + len(TYPE_A_CLASS_IN)
        header = HEADER.pack(number, 0x8180, 1, 1, 0, 0)
        server.sendto(header + question[HEADER.size : end] + ADDRESS, back)


def resolve(port: int, *every_s: str) -> None:
    numbers = itertools.count(1)

    def ask(*_: str) -> str:
        number = next(numbers)
        labels = (f"host{number}".encode(), b"test")
        name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            client.send(HEADER.pack(number, 0x0100, 1, 0, 0, 0) + name + TYPE_A_CLASS_IN)
            answer = client.recv(512)
        return "answered " + socket.inet_ntoa(answer[-4:])

    if every_s:
        repeat(ask, float(every_s[0]))
    obey(ask)


if __name__ == "__main__":
    role, number, *every_s = sys.argv[1:]
    if role == "upstream":
        serve(int(number))
    resolve(int(number), *every_s)
