"""A store of keys as training jobs use it to find each other: server PORT | client PORT KEY.

A thread of the first process serves all in poll(2); `get KEY` is answered once it is set.
"""

from __future__ import annotations

import select
import socket
import sys
import threading

from lines import emit


def serve(listener: socket.socket) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    sockets: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                sockets[client.fileno()] = client
                poll.register(client, select.POLLIN)
            elif not sockets[fd].recv(4096):
                poll.unregister(fd)
                sockets.pop(fd).close()


def wait(port: int) -> None:
    """What `TCPStore.wait` does: ask, and block until the key is there."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"get rendezvous\n")
    emit("ready")
    client.recv(100)


if __name__ == "__main__":
    role, number = sys.argv[1], int(sys.argv[2])
    if role == "server":
        # One process has both: the trainer's own thread waits in the store as well.
        listener = socket.create_server(("127.0.0.1", number))
        threading.Thread(target=serve, args=(listener,)).start()
    wait(number)
