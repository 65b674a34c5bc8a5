"""Attacks by an ordinary user on the probe of root; each needs root to begin with.

Each acts as the user `uid`, and yields the pid of the client whose wait has to be reported all the
same, or 0.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import struct

from peers.common import LOOPBACK, Steps, aside

CALLS = {"x86_64": (323, 272), "aarch64": (282, 97)}[os.uname().machine]  # userfaultfd, unshare
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p


def become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else its own /proc files are root's


def waiting_client(listener: socket.socket) -> tuple[int, socket.socket]:
    """A client, in a process of its own, that waits for its reply; the server has the request."""
    pid = os.fork()
    if not pid:
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"request")
        client.recv(1)
        os._exit(0)
    server = listener.accept()[0]
    server.recv(100)
    return pid, server


def many_descriptors(uid: int, count: int) -> Steps:
    """Of processes that share one table each; and sockets that no process holds."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    become(uid)
    listener = socket.create_server((LOOPBACK, 0))
    left, _right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for _ in range(5):
        _, server = waiting_client(listener)
        rights = array.array("i", [server.fileno()])
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        server.close()
    null = os.open(os.devnull, os.O_RDONLY)
    for _ in range(19_000):
        os.dup(null)
    for _ in range(count // 19_000 - 1):
        if not os.fork():
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            signal.pause()
    yield 0


def event_loop(uid: int, monitored: int, copies: int) -> Steps:
    """A peer whose epoll instance is long, and has many descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    become(uid)
    pid, server = waiting_client(socket.create_server((LOOPBACK, 0)))
    epoll = select.epoll()
    idle = os.eventfd(0)
    for _ in range(monitored):
        epoll.register(os.dup(idle), select.EPOLLIN)
    for _ in range(copies):
        os.dup(epoll.fileno())
    yield pid
    server.close()


def page_that_never_comes(uid: int) -> Steps:
    """A peer that waits for events into a page that a userfaultfd never fills.

    Meanwhile the kernel holds the instance's mutex: who reads its fdinfo waits, uninterruptibly.
    """
    fault = libc.syscall(CALLS[0], os.O_CLOEXEC)
    fcntl.ioctl(fault, UFFDIO_API, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
    become(uid)
    pid, server = waiting_client(socket.create_server((LOOPBACK, 0)))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    page = libc.mmap(None, mmap.PAGESIZE, 3, flags, -1, ctypes.c_long(0))
    fcntl.ioctl(fault, UFFDIO_REGISTER, bytearray(struct.pack("=QQQQ", page, mmap.PAGESIZE, 1, 0)))
    epoll = select.epoll()
    for fd in (server.fileno(), os.eventfd(1)):
        epoll.register(fd, select.EPOLLIN)
    # In this process: a child would have a page without the userfaultfd.
    aside(lambda: libc.epoll_wait(epoll.fileno(), ctypes.c_void_p(page), 8, -1))
    yield pid


def many_namespaces(uid: int, count: int) -> Steps:
    """Each with one wait, whose peer socket no process holds."""
    become(uid)
    readable, writable = os.pipe()
    for _ in range(count):
        if not os.fork():
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            wait_elsewhere(writable)
    came = 0
    while came < count:
        came += len(os.read(readable, count))
    yield 0


def wait_elsewhere(writable: int) -> None:
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        os._exit(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    listener = socket.create_server((LOOPBACK, 0))
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.sendall(b"request")
    server.recv(100)
    left, _right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    rights = array.array("i", [server.fileno()])
    left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    server.close()
    os.write(writable, b"x")
    client.recv(1)
