"""Netlink sockets for dumps and multicast messages: framing, errors.  netlink(7)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ERRNO = struct.Struct("=i")

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_DUMP = 0x300

_MAX_ERRNO = 4095
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_SO_RCVBUFFORCE = 33
_SO_RCVBUF_BYTES = 1 << 22  # 6,553 messages of closed sockets
_READ_BYTES = 1 << 16  # a dump is answered in pieces of up to 32 KiB
_DONE_BYTES = HEADER.size + _ERRNO.size
_CHUNK_BYTES = 1 << 20  # of a dump that is read in chunks
_MOST_LEFT = 1 << 14  # pieces of an answer that was not read to its end: 512 MiB


def spans(buffer: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield offset and length of each payload in a buffer, and the type of the message.

    Stops at a length that does not fit: the bytes after it are not trusted.
    """
    offset, end = 0, len(buffer)
    while offset + HEADER.size <= end:
        length, kind, _, _, _ = HEADER.unpack_from(buffer, offset)
        if length < HEADER.size or offset + length > end:
            return
        yield offset + HEADER.size, length - HEADER.size, kind
        offset += (length + 3) & ~3


def messages(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a received buffer into (type, payload), as `spans` does."""
    for offset, length, kind in spans(buffer):
        yield kind, buffer[offset : offset + length]


def error_of(payload: bytes) -> OSError | None:
    """Return the error of an NLMSG_ERROR or NLMSG_DONE payload, None for success."""
    code = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else errno.EBADMSG
    if not 0 <= code <= _MAX_ERRNO:
        code = errno.EBADMSG
    return OSError(code, os.strerror(code)) if code else None


class NetlinkSocket:
    """A netlink socket of one family; raises the OSError of the kernel."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        self._socket.bind((0, 0))
        self._sequence = 0
        self._is_answered = True  # the last answer was read to its end
        self._chunks: bytearray | None = None

    def fileno(self) -> int:
        """Return the descriptor, for a poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the descriptor."""
        self._socket.close()

    def join(self, group: int) -> None:
        """Join the multicast group `group`; without privilege where the family allows it."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SO_RCVBUF_BYTES)
        except PermissionError:  # without CAP_NET_ADMIN up to net.core.rmem_max
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SO_RCVBUF_BYTES)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def dump(self, kind: int, request: bytes) -> Iterator[bytes]:
        """Send a dump request and yield the payloads of the response.

        Raises the OSError of the kernel, also at the end of the dump.
        """
        self._request(kind, NLM_F_DUMP, request)
        while True:
            found = False
            for answer, payload in messages(self._socket.recv(_READ_BYTES)):
                found = True
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    self._is_answered = True
                    error = error_of(payload)
                    if error is not None:
                        raise error
                    return
                yield payload
            if not found:
                raise OSError(errno.EBADMSG, "a netlink answer was cut short")

    def dump_chunks(self, kind: int, request: bytes) -> Iterator[memoryview]:
        """Send a dump request and yield the response in chunks of whole messages.

        A chunk is valid until the next one.  Raises as `dump` does.
        """
        self._request(kind, NLM_F_DUMP, request)
        chunk, used = self._chunk(), 0
        while True:
            if len(chunk) - used < _READ_BYTES:
                yield chunk[:used]
                used = 0
            begun, used = used, used + self._socket.recv_into(chunk[used:], _READ_BYTES)
            if used - begun < HEADER.size:
                raise OSError(errno.EBADMSG, "a netlink answer was cut short")
            if (found := _end_of_dump(chunk[begun:used])) is not None:
                self._is_answered = True
                end, error = found
                if error is not None:
                    raise error
                if begun + end:
                    yield chunk[: begun + end]
                return

    def _chunk(self) -> memoryview:
        """Return the memory for chunks, which is kept: to map it anew costs as much as to read."""
        if self._chunks is None:
            self._chunks = bytearray(_CHUNK_BYTES)
        return memoryview(self._chunks)

    def _request(self, kind: int, flags: int, request: bytes) -> None:
        if not self._is_answered:
            self._skip_answer()
        self._is_answered = False
        self._sequence += 1
        size = HEADER.size + len(request)
        self._socket.send(
            HEADER.pack(size, kind, NLM_F_REQUEST | flags, self._sequence, 0) + request
        )

    def _skip_answer(self) -> None:
        """Read the rest of an answer, which would be taken for that of the next request.

        A read may fail for want of memory, or who asked for a dump may stop before its end.
        """
        for _ in range(_MOST_LEFT):
            try:
                self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                continue

    def ask(self, kind: int, request: bytes) -> bytes:
        """Send a request with one response, and return its payload.

        Raises the OSError of the kernel: ENOENT where the object does not exist.
        """
        self._request(kind, 0, request)
        buffer = self._socket.recv(_READ_BYTES)
        self._is_answered = True
        for answer, payload in messages(buffer):
            if answer == NLMSG_ERROR:
                raise error_of(payload) or OSError(errno.EBADMSG, "an empty netlink response")
            return payload
        raise OSError(errno.EBADMSG, "a netlink answer was cut short")

    def receive(self) -> bytes | None:
        """Return the next multicast buffer, None when there is none.

        Raises OSError ENOBUFS when the kernel dropped messages.
        """
        try:
            return self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None


def _end_of_dump(datagram: memoryview) -> tuple[int, OSError | None] | None:
    """Return the place of the end of the dump in this datagram, and its error; None: it goes on.

    The end is the last message of a datagram, or the first one where it is an error.  Only then the
    messages before it are counted off.
    """
    last = len(datagram) - _DONE_BYTES
    is_last = last >= 0 and HEADER.unpack_from(datagram, last)[:2] == (_DONE_BYTES, NLMSG_DONE)
    if not is_last and HEADER.unpack_from(datagram)[1] not in (NLMSG_DONE, NLMSG_ERROR):
        return None
    for offset, length, kind in spans(datagram):
        if kind in (NLMSG_DONE, NLMSG_ERROR):
            error = error_of(bytes(datagram[offset : offset + length]))
            return offset - HEADER.size, error
    return None
