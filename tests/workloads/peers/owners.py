"""Peers whose sockets change hands, or whose owner no call of their own shows."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time

from peers.common import (
    LOOPBACK,
    UNACKED,
    Steps,
    connection,
    datagram_socket,
    exactly,
    fork,
    listen,
)

LAST_PID = "/proc/sys/kernel/ns_last_pid"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOSSY_PORT = 7777
TOTAL_RETRANS = 100  # its offset in struct tcp_info


def _nft(rule: str) -> None:
    import subprocess

    chain = "add table inet t; add chain inet t i { type filter hook input priority 0; }; "
    subprocess.run(["nft", f"{chain} add rule inet t i {rule}"], check=True)


def accepts_one() -> Steps:
    """Yields its port, and does nothing on the connection."""
    listener = listen()
    yield listener.getsockname()[1]
    _server, _ = listener.accept()
    yield
    yield


def resets(port: int) -> Steps:
    client = socket.create_connection((LOOPBACK, port))
    yield
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    yield


def lossy_line(count: int) -> Steps:
    """Yields how many segments the kernel has sent again."""
    client, server = connection(port=LOSSY_PORT)
    # Only now: a lost handshake would make the listener send its SYN-ACK again, under the same pid.
    _nft(f"tcp dport {LOSSY_PORT} numgen random mod 10 < 1 drop")
    reader = threading.Thread(target=exactly, args=(server, count))
    reader.start()
    yield
    client.sendall(bytes(count))
    reader.join()
    while True:  # what is not acknowledged yet may still be sent again
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        if not struct.unpack_from("I", info, UNACKED)[0]:
            break
        select.select([], [], [], 0.01)
    yield struct.unpack_from("I", info, TOTAL_RETRANS)[0]


def unheard_listener() -> Steps:
    """The listener is a child, whose pid it yields; its SYN-ACKs are lost."""
    _nft(f"tcp sport {LOSSY_PORT} tcp flags & syn == syn drop")
    listener = socket.socket()
    listener.bind((LOOPBACK, LOSSY_PORT))
    ready_in, ready_out = os.pipe()

    def serve() -> None:
        listener.listen()
        os.write(ready_out, b".")

    child = fork(serve)
    listener.close()
    os.read(ready_in, 1)
    yield child
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((LOOPBACK, LOSSY_PORT))
    yield


def first_of_a_pid_namespace() -> Steps:
    """The child has pid 1 in its namespace, and yields as the parent numbers it."""

    def send() -> None:
        assert os.getpid() == 1
        sock = datagram_socket()
        sock.sendto(b"x" * 71, sock.getsockname())
        sock.recv(100)

    yield fork(send)


def becomes_a_shell() -> Steps:
    """Sends 7 bytes as this program and 11 as the shell that takes its place."""
    client, server = connection()
    client.sendall(b"x" * 7)
    yield
    client.set_inheritable(True)
    server.set_inheritable(True)
    os.execv("/bin/sh", ["sh", "-c", f"printf 0123456789a >&{client.fileno()}; read wait"])


def one_pid_twice() -> Steps:
    """Two children, one after the other, send 71 and 73 bytes under one pid; yields both pids."""

    def send(count: int) -> None:
        sock = datagram_socket()
        sock.connect(sock.getsockname())
        sock.send(bytes(count))
        os._exit(0)

    yield
    first = os.fork()
    if not first:
        send(71)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    _wait_for_another_tick(first)
    os.waitpid(first, 0)
    second = 0
    for _ in range(1000):  # other processes start, too: whichever is there first has the pid
        with open(LAST_PID, "w") as file:
            file.write(str(first - 1))
        second = os.fork()
        if not second:
            if os.getpid() == first:
                send(73)
            os._exit(0)
        os.waitpid(second, 0)
        if second == first:
            break
    yield first, second


def _wait_for_another_tick(pid: int) -> None:
    """Two processes of one pid differ by the tick in which they began."""
    with open(f"/proc/{pid}/stat") as file:
        began = int(file.read().rpartition(")")[2].split()[19])
    while time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S < began + 2:
        time.sleep(0.001)


def unheld_socket() -> Steps:
    """It lies in the queue of a unix socket for one step, and is held by a descriptor after it."""
    client, server = connection()
    ours, theirs = socket.socketpair()
    yield
    client.sendall(b"x" * 1_009)
    socket.send_fds(ours, [b"."], [client.fileno()])
    client.close()
    exactly(server, 1_009)
    yield
    _message, _held, _, _ = socket.recv_fds(theirs, 1, 1)
    yield
