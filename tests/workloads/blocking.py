"""A worker that does one blocking call after the other, like most programs ever written."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from typing import Any

from talk import Longest, addresses_of, die_with_parent, failed, hello, inode, report, tcp_info

CHUNK_BYTES = 65_536
IPPROTO_MPTCP = 262
SO_MAX_PACING_RATE = 47
LONG_S = 600
AT_ONCE = 1 << 23  # bytes: more than a receive buffer
PAUSE_NS, STEADY_NS = 50_000_000, 1_200_000_000  # of `flow`


class Blocking:
    """One listener, one current connection; the ones before it stay open."""

    def __init__(self) -> None:
        self.listener: socket.socket | None = None
        self.sock: socket.socket | None = None
        self.kept: list[socket.socket] = []
        self.interrupted = 0
        self.protocol = 0

    def _use(self, sock: socket.socket) -> None:
        if self.sock is not None:
            self.kept.append(self.sock)
        self.sock = sock

    def listen(self, host: str = "127.0.0.1", port: int = 0, rcvbuf: int = 0) -> dict[str, Any]:
        """Listen on a port of the kernel's choice; `rcvbuf` bounds what a peer can push."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM, self.protocol)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # also what it accepts
        if rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.listener.bind((host, port))
        self.listener.listen(128)
        return {"port": self.listener.getsockname()[1], "inode": inode(self.listener)}

    def accept(self) -> dict[str, Any]:
        sock, _ = self.listener.accept()
        self._use(sock)
        return addresses_of(sock)

    def connect(self, host: str, port: int, syn_retries: int = 0) -> dict[str, Any]:
        """Connect; the inode is reported before, for a connect that hangs or fails."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, self.protocol)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if syn_retries:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, syn_retries)
        report("connecting", inode=inode(sock))
        self._use(sock)
        longest = Longest()
        longest.measure(lambda: sock.connect((host, port)))
        return addresses_of(sock) | longest.fields()

    def connect_again(self, host: str, port: int) -> dict[str, Any]:
        """Connect the same socket once more; what it was connected to is let go."""
        ctypes.CDLL(None).connect(self.sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16)
        self.sock.connect((host, port))
        return addresses_of(self.sock)

    def send(self, count: int, chunk: int = CHUNK_BYTES) -> dict[str, Any]:
        """Send exactly `count` bytes; the longest call is the stall."""
        return self._send(self.sock, count, chunk)

    def recv(self, count: int) -> dict[str, Any]:
        """Receive exactly `count` bytes, or fewer where the peer closes before."""
        longest, received = Longest(), 0
        while received < count:
            wanted = min(count - received, 1 << 20)
            got = longest.measure(lambda wanted=wanted: len(self.sock.recv(wanted)))
            if not got:
                break
            received += got
        return {"bytes": received, "inode": inode(self.sock)} | longest.fields()

    def spin(self, count: int, every_ms: int = 0, most_ms: int = LONG_S * 1000) -> dict[str, Any]:
        """Call a receive that does not block again and again, until `count` bytes have come."""
        begin_ns, received = time.monotonic_ns(), 0
        while received < count and time.monotonic_ns() - begin_ns < most_ms * 1_000_000:
            try:
                received += len(self.sock.recv(count - received, socket.MSG_DONTWAIT))
            except BlockingIOError:
                if every_ms:
                    time.sleep(every_ms / 1e3)
        longest = Longest()
        longest.note(begin_ns, time.monotonic_ns())
        return {"bytes": received} | longest.fields()

    def post(self, count: int) -> dict[str, Any]:
        """Upload so many bytes by HTTP/1.1."""
        self.sock.sendall(b"POST /upload HTTP/1.1\r\nHost: lab.example\r\n\r\n" + bytes(count))
        return {"bytes": count}

    def ask_busily(self, question: int, answer: int) -> dict[str, Any]:
        """Ask, and poll without sleeping until the answer is there, as MPI does."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        begin_ns = time.monotonic_ns()
        self.sock.sendall(bytes(question))
        begun_ns = time.monotonic_ns()
        while not poll.poll(0):
            for _ in range(50):
                os.sched_yield()
        received = len(self.sock.recv(answer, socket.MSG_WAITALL))
        longest = Longest()
        longest.note(begin_ns, time.monotonic_ns())
        return {"bytes": received, "begun_ns": begun_ns} | longest.fields()

    def drain(self) -> dict[str, Any]:
        """Receive until the peer closes."""
        return self.recv(1 << 62)

    def ask(self, question: int, answer: int) -> dict[str, Any]:
        """Send a question and block until its answer is there, in one go."""
        begin_ns = time.monotonic_ns()
        self.sock.sendall(bytes(question))
        asked = {"begun_ns": time.monotonic_ns(), "inode": inode(self.sock)}
        received = self.recv(answer)["bytes"]
        longest = Longest()
        longest.note(begin_ns, time.monotonic_ns())
        return {"bytes": received} | asked | longest.fields()

    def ask_by_tls(self, question: int, answer: int, in_epoll: bool = False) -> dict[str, Any]:
        """Make the connection one of TLS 1.3, and ask at once, before the server's tickets come.

        It waits in a receive, or in epoll.
        """
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.sock = context.wrap_socket(self.sock)
        if not in_epoll:
            return self.ask(question, answer)
        self.sock.sendall(bytes(question))
        self.sock.setblocking(False)
        with select.epoll() as poll:
            poll.register(self.sock, select.EPOLLIN)
            while True:
                try:
                    received = len(self.sock.recv(answer))
                    break
                except ssl.SSLWantReadError:
                    poll.poll()
        self.sock.setblocking(True)
        return {"bytes": received}

    def recv_by_tls(
        self, certificate: str, count: int, late_ms: int, tickets: int = 2
    ) -> dict[str, Any]:
        """The other side, so far away: its tickets come after the request."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.num_tickets = tickets
        context.load_cert_chain(certificate)
        self.sock.setblocking(False)
        self.sock = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        while True:
            try:
                self.sock.do_handshake()
                break
            except ssl.SSLWantReadError:
                select.select([self.sock], [], [])
                time.sleep(late_ms / 1e3)
        self.sock.setblocking(True)
        return self.recv(count)

    def ask_aside(self, question: int, answer: int) -> dict[str, Any]:
        """The same in a thread of its own, which reports when it is done."""
        sock = self.sock

        def converse() -> None:
            longest = Longest()
            sock.sendall(bytes(question))
            longest.measure(lambda: sock.recv(answer, socket.MSG_WAITALL))
            report("answered", tid=threading.get_native_id(), **longest.fields())

        thread = threading.Thread(target=converse, daemon=True)
        thread.start()
        return {"tid": thread.native_id, "inode": inode(sock)}

    def ask_polling(self, question: int, answer: int, how: str) -> dict[str, Any]:
        """Ask, and poll this socket alone: `timeout` as Python does for one, `select` without."""
        if how == "timeout":
            self.sock.settimeout(LONG_S)
            return self.ask(question, answer)
        self.sock.sendall(bytes(question))
        longest = Longest()
        longest.measure(lambda: select.select([self.sock], [], []))
        return self.recv(answer) | longest.fields()

    def ask_in_turns(self, question: int, answer: int, turn_ms: int) -> dict[str, Any]:
        """Ask, and receive with SO_RCVTIMEO: the call gives up, and is made again at once."""
        turn = struct.pack("@ll", 0, turn_ms * 1000)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, turn)
        longest, begin_ns = Longest(), time.monotonic_ns()
        self.sock.sendall(bytes(question))
        begun_ns, turns, received = time.monotonic_ns(), 0, 0
        while received < answer:
            try:
                received += len(self.sock.recv(answer))
            except BlockingIOError:
                turns += 1
        longest.note(begin_ns, time.monotonic_ns())
        return {"bytes": received, "turns": turns, "begun_ns": begun_ns} | longest.fields()

    def answer_after(self, late_ms: int, answer: int, question: int) -> dict[str, Any]:
        """Answer what was asked after a while, and go straight back to listen for more."""
        time.sleep(late_ms / 1e3)
        self.sock.sendall(bytes(answer))
        return self.recv(question)

    def heed_signals(self) -> dict[str, Any]:
        """From now on SIGUSR1 interrupts a call with EINTR; Python makes it again, PEP 475."""
        self.interrupted = 0

        def heed(*_: object) -> None:
            self.interrupted += 1

        signal.signal(signal.SIGUSR1, heed)
        return {}

    def interruptions(self) -> dict[str, Any]:
        return {"times": self.interrupted}

    def drip(self, count: int, every_ms: int, times: int) -> dict[str, Any]:
        """A line now and then that no process answers, as a log sender does it."""
        for _ in range(times):
            last_ns = time.monotonic_ns()
            self.sock.sendall(bytes(count))
            time.sleep(every_ms / 1e3)
        return {"bytes": count * times, "last_ns": last_ns}

    def recv_late(self, count: int, late_ms: int) -> dict[str, Any]:
        """Receive what is there, and do something else in between."""
        left = count
        while left:
            time.sleep(late_ms / 1e3)
            left -= len(self.sock.recv(min(left, AT_ONCE)))
        return {"bytes": count}

    def flow(self, count: int, least: int, most: int) -> dict[str, Any]:
        """Send so many bytes every 10 ms, until there was no pause for a while: a steady transfer.

        On a busy host it takes longer.
        """
        sent, steady_ns, last_ns = 0, time.monotonic_ns(), time.monotonic_ns()
        while sent < least or (last_ns - steady_ns < STEADY_NS and sent < most):
            time.sleep(0.01)
            now_ns = time.monotonic_ns()
            if now_ns - last_ns > PAUSE_NS:
                steady_ns = now_ns
            last_ns = now_ns
            self.sock.sendall(bytes(count))
            sent += count
        return {"bytes": sent, "last_ns": last_ns}

    def short(self, host: str, port: int, count: int, life_ms: int) -> dict[str, Any]:
        """A connection that is over before any sample: connect, send, close."""
        begin = time.monotonic()
        with socket.create_connection((host, port)) as sock:
            identity = addresses_of(sock)
            sent = self._send(sock, count, CHUNK_BYTES)["bytes"]
            time.sleep(max(0.0, begin + life_ms / 1e3 - time.monotonic()))
        return identity | {"bytes": sent, "life_ms": int((time.monotonic() - begin) * 1e3)}

    def pong(self, count: int, times: int) -> dict[str, Any]:
        """Send back what comes, at once, as the answer to a ping."""
        for _ in range(times):
            self.sock.sendall(self.sock.recv(count, socket.MSG_WAITALL))
        return {"bytes": count * times}

    def settle(self) -> dict[str, Any]:
        """Wait until the peer has acknowledged all, then report the kernel's own counts."""
        while (info := tcp_info(self.sock))["unacked"]:
            time.sleep(0.01)
        return info | {"inode": inode(self.sock)}

    def info(self) -> dict[str, Any]:
        """The kernel's own counts, as they are now."""
        return tcp_info(self.sock)

    def compute(self, cpu_ms: int) -> dict[str, Any]:
        """Take a whole core for this much CPU time, as a rank that is late."""
        end = time.process_time() + cpu_ms / 1e3
        while time.process_time() < end:
            pass
        return {}

    def nap(self, life_ms: int) -> dict[str, Any]:
        time.sleep(life_ms / 1e3)
        return {}

    def fill(self) -> dict[str, Any]:
        """Send until the buffer takes no more, without waiting."""
        sent = 0
        self.sock.setblocking(False)
        try:
            while True:
                sent += self.sock.send(bytes(CHUNK_BYTES))
        except BlockingIOError:
            self.sock.setblocking(True)
        return {"bytes": sent}

    def linger(self, most_s: int) -> dict[str, Any]:
        """Have close() wait as long until the peer has all, socket(7)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, most_s))
        return {}

    def keep_alive(self, every_s: int) -> dict[str, Any]:
        """Ask the peer's host whether it is there, that often while nothing comes, tcp(7)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, every_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every_s)
        return {}

    def pace(self, bytes_per_s: int) -> dict[str, Any]:
        """Have the kernel send no faster (SO_MAX_PACING_RATE), from a small buffer."""
        self.sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, bytes_per_s)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK_BYTES)
        return {}

    def close(self) -> dict[str, Any]:
        self.sock.close()
        self.sock = None
        return {}

    def finish(self) -> dict[str, Any]:
        """Close the half that sends."""
        self.sock.shutdown(socket.SHUT_WR)
        return {}

    def give_up_after(self, limit_ms: int) -> dict[str, Any]:
        """How long sent data may stay unacknowledged before the connection fails, tcp(7)."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
        return {}

    def reset(self) -> dict[str, Any]:
        """Close with a RST instead of a FIN: a lingering of no time at all, socket(7)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.close()

    # Sockets that change hands

    def fork(self) -> dict[str, Any]:
        """Go on in a child that shares the socket; the parent does nothing any more."""
        parent = os.getpid()
        if child := os.fork():
            os.waitpid(child, 0)
            os._exit(0)
        die_with_parent()
        return {"pid": os.getpid(), "parent": parent}

    def fork_idle(self) -> dict[str, Any]:
        """The same, but it is the child that does nothing any more."""
        if child := os.fork():
            return {"pid": child}
        die_with_parent()
        while True:
            signal.pause()

    def give(self, name: str) -> dict[str, Any]:
        """Pass the current connection to whoever listens on an abstract unix socket."""
        with socket.socket(socket.AF_UNIX) as courier:
            courier.connect("\0" + name)
            socket.send_fds(courier, [b"x"], [self.sock.fileno()])
        return self.close()

    def take(self, name: str) -> dict[str, Any]:
        """Take over a connection that another process gives."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("\0" + name)
            listener.listen(1)
            report("taking")
            with listener.accept()[0] as courier:
                _, (descriptor,), _, _ = socket.recv_fds(courier, 1, 1)
        self._use(socket.socket(fileno=descriptor))
        return addresses_of(self.sock)

    # Many, and others

    def use_multipath(self) -> dict[str, Any]:
        """From now on TCP is Multipath TCP; an error where the kernel does not have it."""
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
        self.protocol = IPPROTO_MPTCP
        return {}

    def hold(self, count: int) -> dict[str, Any]:
        """Open so many connections to itself, which then idle."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(count):
                self.kept.append(socket.create_connection(listener.getsockname()))
                self.kept.append(listener.accept()[0])
        return {}

    def ping(self, size: int, times: int) -> dict[str, Any]:
        """ICMP echo requests to itself from a raw socket, which takes a privilege."""
        request = struct.pack("!BBHHH", 8, 0, 0, 0, 0) + bytes(size)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
            return {"bytes": sum(sock.sendto(request, ("127.0.0.1", 0)) for _ in range(times))}

    # UDP

    def bind(self, host: str = "127.0.0.1", port: int = 0) -> dict[str, Any]:
        self._use(
            socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        )
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock.bind((host, port))
        return {"port": self.sock.getsockname()[1], "inode": inode(self.sock)}

    def send_to(self, host: str, port: int, size: int, times: int) -> dict[str, Any]:
        """Send `times` datagrams of `size` bytes from the current, or a new, UDP socket."""
        if self.sock is None:
            self._use(
                socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            )
        sent = sum(self.sock.sendto(bytes(size), (host, port)) for _ in range(times))
        return {"bytes": sent, "inode": inode(self.sock)}

    def query(self, host: str, port: int, size: int, way: str) -> dict[str, Any]:
        """Ask by a datagram and wait for the answer: polled `alone`, with `others`, in `epoll`."""
        self.send_to(host, port, size, 1)
        report("asked", inode=inode(self.sock))
        if way == "epoll":
            with select.epoll() as loop:
                loop.register(self.sock, select.EPOLLIN)
                loop.poll(LONG_S)
        else:
            others = [os.eventfd(0)] if way == "others" else []
            select.select([self.sock, *others], [], [], LONG_S)
        return {"bytes": len(self.sock.recv(65_536)), "inode": inode(self.sock)}

    def recv_from(self, times: int) -> dict[str, Any]:
        """Receive exactly `times` datagrams."""
        return {
            "bytes": sum(len(self.sock.recv(65_536)) for _ in range(times)),
            "inode": inode(self.sock),
        }

    @staticmethod
    def _send(sock: socket.socket, count: int, chunk: int) -> dict[str, Any]:
        payload, longest, sent = memoryview(bytes(chunk)), Longest(), 0
        while sent < count:
            part = payload[: count - sent]
            sent += longest.measure(lambda part=part: sock.send(part))
        return {"bytes": sent, "inode": inode(sock)} | longest.fields()


def run(worker: Blocking | None = None) -> None:
    """Obey stdin, one command a line, until it is closed."""
    worker = worker or Blocking()
    hello("blocking")
    for line in sys.stdin:
        verb, *words = line.split()
        arguments = [int(word) if word.isdigit() else word for word in words]
        try:
            report(verb, **getattr(worker, verb.replace("-", "_"))(*arguments))
        except OSError as error:
            failed(verb, error)
