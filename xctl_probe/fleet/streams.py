"""Files of NDJSON, plain or gzip, in pieces of whole lines that can be read again by their place.

The content is hostile: what cannot be read is counted, and memory does not grow with it.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import NamedTuple

from xctl_probe.recordings.members import HEADER_BYTES, MAGIC, Summary, summary_of

_CHUNK_BYTES = 1 << 16
_SMALL_BYTES = 1 << 12  # most members of a recording are shorter; what follows one is copied
_PIECE_BYTES = 1 << 20  # decompressed; a longer line is left out
_GZIP = 31
_SUFFIXES = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")

TRUNCATED = "compressed data that breaks off"
DAMAGED = "damaged compressed parts"
LONG = "lines of more than 1 MiB"


class Place(NamedTuple):
    """Where lines are in a file, from an offset on: bytes, or (`size` None) members of gzip.

    `last` is the offset of the last member where there are several.
    """

    offset: int
    size: int | None
    last: int = 0


class Piece(NamedTuple):
    """Whole lines, and where to read them again; of a member that was passed over its summary."""

    place: Place
    lines: bytes
    passed: Summary | None = None


Passes = Callable[[Summary], bool]


class Refused(Exception):
    """The path cannot be read; the text is for the user."""


def files_of(path: Path) -> list[Path]:
    """Return the file, or the streams in a directory by name: recordings are in order of time.

    Raises Refused where there is none.
    """
    try:
        if not path.is_dir():
            return [path]
        names = sorted(entry.name for entry in os.scandir(path) if not entry.is_symlink())
    except OSError as error:
        raise Refused(error.strerror or str(error)) from None
    found = [path / name for name in names if name.endswith(_SUFFIXES) and name[0] != "."]
    if not found:
        raise Refused(f"a directory without a stream, which would be named *{_SUFFIXES[0]}[.gz]")
    return found


def pieces(
    path: Path,
    problems: Counter[str],
    place: Place | None = None,
    passes: Passes | None = None,
) -> Iterator[Piece]:
    """Yield the lines of a file, or those at one place.  Raises Refused where it cannot be read.

    `passes` is True of members that are not read: what their summary has is enough.
    """
    try:
        # O_NONBLOCK: a fifo does not hold the reader up.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused(error.strerror or str(error)) from None
    with open(fd, "rb", buffering=0) as file:
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Refused("not a regular file; save the stream to one")
            yield from _pieces(file.fileno(), problems, place, passes)
        except OSError as error:
            raise Refused(error.strerror or str(error)) from None


def _pieces(
    fd: int, problems: Counter[str], place: Place | None, passes: Passes | None
) -> Iterator[Piece]:
    if place is not None and place.size is not None:
        lines = os.pread(fd, place.size, place.offset)
        yield Piece(place, lines if lines.endswith(b"\n") else lines + b"\n")
    elif place is not None:
        last = max(place.last, place.offset)
        yield from _members(_Window(fd, place.offset), problems, passes, last)
    elif os.pread(fd, len(MAGIC), 0) == MAGIC:
        yield from _members(_Window(fd, 0), problems, passes)
    else:
        yield from _plain(_Window(fd, 0), problems)


class _Window:
    """A part of a file in memory, which moves forward."""

    def __init__(self, fd: int, start: int) -> None:
        self._fd = fd
        self.start = start  # offset of `data`
        self.data = os.pread(fd, _PIECE_BYTES, start)

    def from_(self, offset: int, most: int = _CHUNK_BYTES, least: int = 1) -> bytes:
        """Return some bytes from an offset on, none at the end of the file.  Raises OSError.

        They are fewer than `least` only at the end.
        """
        at = offset - self.start
        if not 0 <= at <= len(self.data) - least:
            self.start, self.data, at = offset, os.pread(self._fd, _PIECE_BYTES, offset), 0
        return self.data[at : at + most]


def _plain(window: _Window, problems: Counter[str]) -> Iterator[Piece]:
    lines = _Lines(problems)
    offset = 0
    while chunk := window.from_(offset):
        offset += len(chunk)
        for found in lines.add(chunk):
            # What is left out before is not of the place: it may be any length.
            yield Piece(Place(offset - lines.rest - len(found), len(found)), found)
    begun = offset - lines.rest
    yield from (Piece(Place(begun, len(found)), found) for found in lines.last())


def _members(
    window: _Window, problems: Counter[str], passes: Passes | None, last: float = inf
) -> Iterator[Piece]:
    offset = window.start
    while offset <= last and (chunk := window.from_(offset, _SMALL_BYTES, HEADER_BYTES)):
        place = Place(offset, None)
        if passes is not None and (summary := _summary(window, offset, chunk)) and passes(summary):
            yield Piece(place, b"", summary)
            offset += summary.size
            continue
        lines = _Lines(problems)
        inflater = zlib.decompressobj(wbits=_GZIP)
        try:
            while chunk:
                part = inflater.decompress(chunk, _PIECE_BYTES)
                offset += len(chunk) - len(inflater.unused_data) - len(inflater.unconsumed_tail)
                # Most members are one interval: whole lines in one part.
                if inflater.eof and not lines.rest and part[-1:] == b"\n":
                    yield Piece(place, part)
                    break
                for found in lines.add(part):
                    yield Piece(place, found)
                if inflater.eof:
                    break
                chunk = inflater.unconsumed_tail or window.from_(offset)
        except zlib.error:
            problems[DAMAGED] += 1
            yield from (Piece(place, found) for found in lines.last())
            offset = _next_member(window, place.offset + 1)
            continue
        yield from (Piece(place, found) for found in lines.last())
        if not inflater.eof:
            problems[TRUNCATED] += 1
            return


def _summary(window: _Window, offset: int, chunk: bytes) -> Summary | None:
    """Return the summary of a member that another one, or the end of the file, follows."""
    found = summary_of(chunk)
    if found is None:
        return None
    # With the last byte, so that a member that breaks off is not taken for one at the end.
    after = window.from_(offset + found.size - 1, 1 + len(MAGIC), 1 + len(MAGIC))
    return found if len(after) == 1 or after[1:] == MAGIC else None


def _next_member(window: _Window, offset: int) -> int:
    """Return the offset of what may be the next member, or the end of the file."""
    while chunk := window.from_(offset):
        at = chunk.find(MAGIC)
        if at >= 0:
            return offset + at
        offset += max(len(chunk) - len(MAGIC) + 1, 1)
    return offset


class _Lines:
    """Cuts chunks into lines; `rest` is the number of bytes after the last one."""

    def __init__(self, problems: Counter[str]) -> None:
        self._problems = problems
        self._begun = b""
        self._skips = False  # the rest of a line that is too long

    @property
    def rest(self) -> int:
        return len(self._begun)

    def add(self, chunk: bytes) -> Iterator[bytes]:
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._begin(self._begun + chunk)
            return
        found, self._begun = self._begun + chunk[:end], b""
        if self._skips:
            found = found[found.index(b"\n") + 1 :]
            self._skips = False
        self._begin(chunk[end:])
        if found:
            yield found

    def _begin(self, begun: bytes) -> None:
        if len(begun) > _PIECE_BYTES:
            if not self._skips:
                self._problems[LONG] += 1
            self._skips, begun = True, b""
        self._begun = begun

    def last(self) -> Iterator[bytes]:
        """Yield a last line without its end."""
        if self._begun and not self._skips:
            yield self._begun + b"\n"
        self._begun = b""
