"""A crowd of processes with sockets that talk by a plan: `python3 crowd.py PLAN`, PLAN in JSON.

One server answers; everybody else opens connections to it and asks.  Each process reports on
stdout exactly what it moved, and every wait that was long enough to pass for a stall, so that
whoever watches them can be checked to the byte.  On stdin: `go`, `stop`, then the end of file.
Standard library only, and forked from one small process: a thousand of them need no gigabyte.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from talk import die_with_parent

QUESTION, ANSWER = b"q" * 101, b"a" * 1009
LONG_WAIT_NS = 40_000_000
LONG_TALK_EVERY, SILENT_EVERY, RESET_EVERY = 11, 7, 13
LINGER_0 = struct.pack("ii", 1, 0)  # close with a reset
SECOND_NS = 1_000_000_000


@dataclass
class Plan:
    """What the crowd is to do; rates are those of all processes of a kind together."""

    prefix: str  # of the names of all its processes
    holders: int = 0
    connections: int = 0  # that the holders keep open, all together
    exchanges_per_s: float = 1.0  # of the holders
    processes: int = 0  # each with one connection
    talk_s: float = 5.0  # how often each of them talks
    churners: int = 0
    churn_per_s: float = 0.0  # short connections
    churn_count: int = 0  # of each churner; 0: until it is stopped
    short_lived_per_s: float = 0.0  # processes that live for one short connection


@dataclass
class Gates:
    """Pipes that open, for all who wait, by the closing of their write side."""

    go: int
    stop: int
    server: int
    quit: int
    done: int  # here each reports that it is complete

    def opened(self, gate: int, timeout_s: float | None = 0) -> bool:
        return bool(select.select([gate], [], [], timeout_s)[0])


class Member:
    """One process of the crowd, and what it moved."""

    def __init__(self, name: str, gates: Gates, port: int) -> None:
        die_with_parent()
        Path("/proc/self/comm").write_text(name)
        self.name, self.gates, self.port = name, gates, port
        self.sent = self.received = self.connections = 0
        self.resets = self.reset_bytes = 0  # and what had moved on the connections they ended

    def connect(self) -> socket.socket:
        began_ns = time.monotonic_ns()
        sock = socket.create_connection(("127.0.0.1", self.port))
        self.note(began_ns)
        return sock

    def exchange(self, sock: socket.socket) -> None:
        began_ns = time.monotonic_ns()
        sock.sendall(QUESTION)
        self.sent += len(QUESTION)
        left = len(ANSWER)
        while left:
            part = len(sock.recv(left))
            assert part, "the server closed"
            left -= part
        self.received += len(ANSWER)
        self.note(began_ns)

    def note(self, began_ns: int) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - began_ns >= LONG_WAIT_NS:
            emit("wait", pid=os.getpid(), begin_ns=began_ns, end_ns=now_ns)

    def nap(self, until_ns: int) -> bool:
        """Sleep until then; false when it is time to stop."""
        left_s = max(until_ns - time.monotonic_ns(), 0) / SECOND_NS
        return not self.gates.opened(self.gates.stop, left_s)

    def report_moved(self) -> None:
        emit(
            "moved", pid=os.getpid(), name=self.name, sent=self.sent, received=self.received,
            connections=self.connections, resets=self.resets, reset_bytes=self.reset_bytes,
        )  # fmt: skip

    def leave(self) -> None:
        """Report, and keep the sockets until everybody may go."""
        self.report_moved()
        os.write(self.gates.done, b".")
        self.gates.opened(self.gates.quit, None)


def emit(event: str, **fields: object) -> None:
    """One line, whole: less than PIPE_BUF, so it is not mixed with another process's."""
    os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


def hold(me: Member, connections: int, per_s: float) -> None:
    """Many connections in one process; one after the other has its turn."""
    held = [me.connect() for _ in range(connections)]
    ready(me)
    began_ns, turn = time.monotonic_ns(), 0
    while me.nap(began_ns + int(turn / per_s * SECOND_NS)):
        me.exchange(held[turn % connections])
        turn += 1
    me.leave()


def talk(me: Member, phase: float, every_s: float) -> None:
    """One connection, used now and then."""
    mine = me.connect()
    ready(me)
    due_ns = time.monotonic_ns() + int(phase * every_s * SECOND_NS)
    while me.nap(due_ns):
        me.exchange(mine)
        due_ns += int(every_s * SECOND_NS)
    me.leave()


def churn(me: Member, per_s: float, count: int) -> None:
    """Short connections: most ask once, some more often or not at all, some end by a reset."""
    ready(me)
    began_ns = time.monotonic_ns()
    while me.nap(began_ns + int(me.connections / per_s * SECOND_NS)):
        one = me.connect()
        me.connections += 1
        exchanges = 3 if not me.connections % LONG_TALK_EVERY else 1
        before = me.sent + me.received
        for _ in range(0 if not me.connections % SILENT_EVERY else exchanges):
            me.exchange(one)
        if not me.connections % RESET_EVERY:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            me.resets += 1
            me.reset_bytes += me.sent + me.received - before
        one.close()
        if me.connections == count:
            emit("churned")
            break
    me.leave()


def breed(me: Member, per_s: float) -> None:
    """Processes that live for one short connection, each with a pid of its own."""
    ready(me)
    began_ns, born = time.monotonic_ns(), 0
    while me.nap(began_ns + int(born / per_s * SECOND_NS)):
        child = fork(lambda: live_shortly(me))
        os.waitpid(child, 0)
        born += 1
    me.leave()


def live_shortly(parent: Member) -> None:
    me = Member(f"{parent.name}er", parent.gates, parent.port)
    with me.connect() as one:
        me.connections = 1
        me.exchange(one)
    me.report_moved()


def serve(me: Member, listener: socket.socket) -> None:
    """Answer every question, until everybody else has stopped."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(me.gates.server, select.EPOLLIN)
    clients: dict[int, list] = {}  # the socket, and how much of a question has come
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                me.connections += 1
                clients[client.fileno()] = [client, 0]
                poll.register(client, select.EPOLLIN)
            elif fd == me.gates.server:
                me.leave()
                return
            elif not answer(me, clients[fd]):
                clients.pop(fd)[0].close()


def answer(me: Member, client: list) -> bool:
    """False when the client has left."""
    sock, got = client
    try:
        part = len(sock.recv(1 << 16))
    except ConnectionResetError:
        me.resets += 1
        return False
    me.received += part
    got += part
    while got >= len(QUESTION):
        sock.sendall(ANSWER)
        me.sent += len(ANSWER)
        got -= len(QUESTION)
    client[1] = got
    return part > 0


def ready(me: Member) -> None:
    os.write(me.gates.done, b".")
    me.gates.opened(me.gates.go, None)


def fork(run: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        run()
    except BaseException as error:
        emit("failed", pid=os.getpid(), why=repr(error))
        os._exit(1)
    os._exit(0)


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # or the collector would copy every page that the processes share
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = listener.getsockname()[1]
    reported, done = os.pipe()
    gates, keys = zip(*(os.pipe() for _ in range(4)), strict=True)
    go, stop, server, leave = gates
    shared = Gates(go, stop, server, leave, done)

    def member(kind: str, run: Callable[[Member], None]) -> int:
        def begin() -> None:
            for key in keys:
                os.close(key)
            run(Member(f"{plan.prefix}{kind}", shared, port))

        return fork(begin)

    def wait_for(count: int) -> None:
        while count > 0:
            count -= len(os.read(reported, count))

    pids = [member("server", lambda me: serve(me, listener))]
    listener.close()
    for _ in range(plan.holders):
        count, per_s = plan.connections // plan.holders, plan.exchanges_per_s / plan.holders
        pids.append(member("hold", lambda me, n=count, r=per_s: hold(me, n, r)))
    for number in range(plan.processes):
        phase = number / plan.processes
        pids.append(member("talk", lambda me, p=phase: talk(me, p, plan.talk_s)))
    for _ in range(plan.churners):
        per_s = plan.churn_per_s / plan.churners
        pids.append(member("churn", lambda me, r=per_s: churn(me, r, plan.churn_count)))
    if plan.short_lived_per_s:
        pids.append(member("breed", lambda me: breed(me, plan.short_lived_per_s)))
    wait_for(len(pids) - 1)
    emit("ready")
    for key in keys[:2]:  # go, stop
        if not sys.stdin.readline():
            return
        os.close(key)
    wait_for(len(pids) - 1)
    os.close(keys[2])  # the server is the last that may stop
    wait_for(1)
    emit("stopped")
    sys.stdin.readline()
    os.close(keys[3])
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
