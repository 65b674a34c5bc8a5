"""Asks running probes: one line to each socket, one JSON document back.

A probe of another user, which only root asks, may answer anything or nothing: answers are bounded
in number, size and time, and all sockets are asked at once.  A document takes many times as much
memory as its JSON, so one at a time is decoded.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import orjson

from xctl_probe.fair import Room
from xctl_probe.status import directory
from xctl_probe.status.peer import peer_of

_WAIT_S = 5.0  # a probe on a busy host, after eight other clients
_MOST_OWN_BYTES = 4 << 20  # 1,024 stalls are below 1 MiB
_MOST_OTHER_BYTES = 256 << 10  # of another user, who is asked for figures only
_MOST_BYTES = 16 << 20  # of all answers
_MOST_SOCKETS = 256
_PART_BYTES = 1 << 16
_NS_PER_S = 1_000_000_000
_RETRY_MS = 50  # where more clients wait than the kernel queues
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """A socket of a probe: its directory and name, and the user that both belong to."""

    path: Path
    name: str
    uid: int

    @property
    def pid(self) -> int:
        """The pid in the name, as the probe's own pid namespace numbers it."""
        return int(self.name.split("-")[0])


@dataclass(frozen=True, slots=True)
class Reply:
    """What a probe answered: the decoded document, or why there is none.

    `pid` is the kernel's where it shows the process here, else that of the name.
    """

    found: Found
    pid: int
    document: object = None
    failure: str = ""


@dataclass(slots=True, eq=False)
class _Asked:
    found: Found
    directory: int
    connection: socket.socket | None = None
    pid: int = 0
    answer: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class _Question:
    """The line that all are asked, who takes the replies, and the room for the answers by uid."""

    line: bytes
    take: Callable[[Reply], None]
    room: Room[int]


def find(places: Iterable[Path]) -> list[Found]:
    """Return the sockets in these directories that this user may ask, those of dead probes too."""
    found: list[Found] = []
    for path in places:
        try:
            fd = directory.open_to_ask(path)
        except OSError:
            continue
        try:
            uid = os.fstat(fd).st_uid
            found += (Found(path, name, uid) for name in directory.sockets(fd))
        finally:
            os.close(fd)
    return found[:_MOST_SOCKETS]


def ask(probes: Iterable[Found], request: str, wait_s: float = _WAIT_S) -> list[Reply]:
    """Ask all probes at once; return their replies with all documents, as `results` does."""
    return results(probes, request, lambda reply: reply, wait_s)


def results(
    probes: Iterable[Found], request: str, result: Callable[[Reply], T], wait_s: float = _WAIT_S
) -> list[T]:
    """Ask all probes at once; return the result of each reply, in the same order.

    `result` is called when an answer is complete; its document is not kept.

    Probes that were killed have no reply.  A probe that has not answered after `wait_s` has one
    with a failure.
    """
    until_ns = time.monotonic_ns() + int(wait_s * _NS_PER_S)
    found: dict[Found, T] = {}

    def take(reply: Reply) -> None:
        found[reply.found] = result(reply)

    question = _Question(f"{request}\n".encode(), take, Room(_MOST_BYTES))
    with _Opened(probes) as asked:
        waiting = [one for one in asked if _connect(one, question)]
        while waiting and (left_ns := until_ns - time.monotonic_ns()) > 0:
            waiting = _exchange(waiting, question, left_ns)
        for one in waiting:
            failure = f"does not answer within {wait_s:g} s"
            take(Reply(one.found, one.pid or one.found.pid, failure=failure))
        return [found[one.found] for one in asked if one.found in found]


class _Opened:
    """The probes with their directories open, and with what is connected meanwhile."""

    def __init__(self, probes: Iterable[Found]) -> None:
        self._probes = probes
        self._asked: list[_Asked] = []

    def __enter__(self) -> list[_Asked]:
        opened: dict[Path, int] = {}
        for one in self._probes:
            if one.path not in opened:
                with suppress(OSError):
                    opened[one.path] = directory.open_to_ask(one.path)
            if one.path in opened:
                self._asked.append(_Asked(one, opened[one.path]))
        self._opened = opened
        return self._asked

    def __exit__(self, *_: object) -> None:
        for one in self._asked:
            if one.connection is not None:
                one.connection.close()
        for fd in self._opened.values():
            os.close(fd)


def _connect(one: _Asked, question: _Question) -> bool:
    """Connect and send the request; False where there is nothing to wait for."""
    try:
        one.connection = directory.connect(one.directory, one.found.name, one.found.uid)
        peer = peer_of(one.connection)
        if peer.uid != one.found.uid:
            raise PermissionError("another user listens there")
        one.pid = peer.pid or one.found.pid
        one.connection.send(question.line, socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return True  # too many clients wait: try again
    except (ConnectionError, FileNotFoundError):
        return False  # it was killed
    except OSError as error:
        failure = f"cannot be asked ({error.strerror or error})"
        question.take(Reply(one.found, one.found.pid, failure=failure))
        return False
    return True


def _exchange(waiting: list[_Asked], question: _Question, left_ns: int) -> list[_Asked]:
    """Read what has come within the time that is left; return those to go on with."""
    poll = select.poll()
    by_fd = {}
    for one in waiting:
        if one.connection is not None:
            poll.register(one.connection, select.POLLIN)
            by_fd[one.connection.fileno()] = one
    unconnected = [one for one in waiting if one.connection is None]
    wait_ms = left_ns / 1e6
    ready = poll.poll(min(wait_ms, _RETRY_MS) if unconnected else wait_ms)
    still = [one for one in unconnected if _connect(one, question)]
    complete = {id(by_fd[fd]) for fd, _ in ready if _read(by_fd[fd], question)}
    return still + [one for one in by_fd.values() if id(one) not in complete]


def _read(one: _Asked, question: _Question) -> bool:
    """Read a part of the answer; True where it is complete."""
    assert one.connection is not None
    try:
        part = one.connection.recv(_PART_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        part = b""
    one.answer += part
    failure = _excess(one, len(part), question.room)
    if part and not failure:
        return False
    if not one.answer:
        failure = "closed the connection without an answer"
    answer, one.answer = bytes(one.answer), bytearray()
    if failure:
        question.take(Reply(one.found, one.pid, failure=failure))
    else:
        question.take(decoded(one.found, one.pid, answer))
    return True


def _excess(one: _Asked, count: int, room: Room[int]) -> str:
    """Return which limit an answer exceeds with the last `count` bytes; empty: none."""
    uid = one.found.uid
    most = _MOST_OWN_BYTES if uid == os.geteuid() else _MOST_OTHER_BYTES
    if len(one.answer) > most:
        return f"answers with more than {most >> 10:,} KiB"
    if count and not room.take(uid, count):
        return f"answers with more than is left of {_MOST_BYTES >> 20} MiB for all probes"
    return ""


def decoded(found: Found, pid: int, answer: bytes) -> Reply:
    """Return the reply of a whole answer, which may be any bytes."""
    try:
        return Reply(found, pid, orjson.loads(answer))
    except orjson.JSONDecodeError:
        return Reply(found, pid, failure="answers with something else than JSON")
