#!/usr/bin/env python3
"""A small consumer to read and to run: which process waits on the network, and on what.

    xctl-probe-network | python3 xctl_ingest.py

On a terminal it keeps one summary on the screen; elsewhere it writes a line for each stall
and each error as they come, and the summary at the end.  A line that is not a record is
counted and skipped.  What comes from the data is never written raw: a process may be named
after an escape code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

LINE_BYTES_MAX = 65_536
KEPT = 1_000  # processes, interfaces, entities: what is oldest is forgotten first
SHOWN = 10
REDRAW_S = 0.5
FORGET_MS = 300_000  # a consumer keeps errors for five minutes
PID_MAX = 2**32 - 1
MOST_PARTS = 8  # counters of one error
WAITING_BELOW_MBPS = 1.0
CLEAR = "\x1b[H\x1b[J"


def record(line: bytes) -> dict[str, Any]:
    """The record in a line; ValueError where the consumer would refuse it."""
    fields = json.loads(line.decode(), object_pairs_hook=_unique)
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    ts, pid, net = fields.get("ts"), fields.get("pid"), fields.get("net")
    if type(ts) is not int or ts < 0:
        raise ValueError("ts")
    if pid is not None and (type(pid) is not int or not 0 <= pid <= PID_MAX):
        raise ValueError("pid")
    for name in ("event_type", "entity_id", "value"):
        if not isinstance(fields.get(name), str):
            raise ValueError(name)
    return {**fields, "pid": pid, "net": net if isinstance(net, dict) else {}}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def clean(value: object, width: int = 48) -> str:
    """Text from the data in printable ASCII, cut to a width."""
    text = "".join(c if c.isascii() and c.isprintable() else "?" for c in str(value))
    return text if len(text) <= width else text[: width - 3] + "..."


class Picture:
    """State from the records so far: interfaces, waits of processes, errors."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.refused = 0
        self.interfaces: OrderedDict[str, str] = OrderedDict()
        self.waits: OrderedDict[tuple[int, str], dict[str, Any]] = OrderedDict()
        self.errors: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def take(self, line: bytes) -> str | None:
        """Add a line; give back the words for it where it is worth a line of its own."""
        try:
            found = record(line)
        except (ValueError, RecursionError):  # of which UnicodeDecodeError is one
            self.refused += 1
            return None
        self.now_ms = max(self.now_ms, found["ts"])
        match found["event_type"]:
            case "transport.bw":
                return self._bandwidth(found)
            case "transport.drop":
                return self._stall(found)
            case "error.net":
                return self._error(found)
            case "process.state":
                return self._state(found)
            case "compute.util" | "compute.mem":
                return None  # of no wait
        self.refused += 1
        return None

    def _bandwidth(self, found: dict[str, Any]) -> str | None:
        if found["pid"] is None:
            _keep(self.interfaces, found["entity_id"], found["value"])
            return None
        try:
            waiting = float(found["value"]) < WAITING_BELOW_MBPS
        except ValueError:
            self.refused += 1
            return None
        if waiting:
            _keep(self.waits, (found["pid"], found["entity_id"]), found)
        return None

    def _stall(self, found: dict[str, Any]) -> str | None:
        if found["pid"] is None:
            return None
        key = (found["pid"], found["entity_id"])
        known = key in self.waits and self.waits[key]["net"].get("ongoing") is True
        _keep(self.waits, key, found)
        # One line at the begin of a stall and one at its end.
        return None if known and found["net"].get("ongoing") is True else wait_words(found)

    def _error(self, found: dict[str, Any]) -> str:
        for part in found["value"].split(",")[:MOST_PARTS]:  # of an interface: RX_DROP:0,TX_DROP:7
            word, _, number = part.partition(":")
            key = (found["entity_id"], word)
            count, _ = self.errors.get(key, (0, 0))
            plus = int(number) if number.isdecimal() and len(number) < len(str(PID_MAX)) else 1
            if plus:
                _keep(self.errors, key, (count + plus, found["ts"]))
        return f"error    {clean(found['entity_id'])}: {clean(found['value'])}"

    def _state(self, found: dict[str, Any]) -> str | None:
        if found["value"] == "connected":  # of --connections, many a second
            return None
        if found["value"] == "exit":
            for key in [key for key in self.waits if key[0] == found["pid"]]:
                del self.waits[key]
        who = f"{clean(found['net'].get('comm', '?'), 16)}[{found['pid']}]"
        return f"{clean(found['value'], 8):8} {who} of job {clean(found.get('job_id'))}"

    def lines(self) -> Iterator[str]:
        """The summary, a screenful at most."""
        yield "INTERFACES (Mbps)"
        for name, value in list(self.interfaces.items())[:SHOWN]:
            yield f"  {clean(name, 16):16} {clean(value, 12):>12}"
        yield "WAITING ON THE NETWORK"
        waits = [w for w in self.waits.values() if w["ts"] > self.now_ms - FORGET_MS]
        waits.sort(key=lambda wait: (wait["net"].get("ongoing") is True, wait["ts"]), reverse=True)
        yield from (f"  {wait_words(wait)}" for wait in waits[:SHOWN])
        if not waits:
            yield "  nobody"
        yield "ERRORS"
        errors = [(k, v) for k, v in self.errors.items() if v[1] > self.now_ms - FORGET_MS]
        for (entity, word), (count, _) in errors[-SHOWN:]:
            yield f"  {clean(entity):24} {clean(word, 24):24} {count}"
        if not errors:
            yield "  none"
        if self.refused:
            yield f"({self.refused} lines were no records)"


def _keep(table: OrderedDict[Any, Any], key: object, value: object) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > KEPT:
        table.popitem(last=False)


def wait_words(found: dict[str, Any]) -> str:
    """One process and what it waits on, in words."""
    net = found["net"]
    state = {True: "waits  ", False: "waited "}.get(net.get("ongoing"), "waits? ")
    words = [state, f"{clean(net.get('comm', '?'), 16)}[{found['pid']}]"]
    words += ["on", clean(found["entity_id"], 24), clean(found["value"], 24)]
    words += [clean(net[name]) for name in ("direction", "remote", "cause") if net.get(name)]
    return " ".join(words)


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a stream as they come; one too long for a record is cut, and so refused."""
    while line := stream.readline(LINE_BYTES_MAX):
        while not line.endswith(b"\n") and (rest := stream.readline(LINE_BYTES_MAX)):
            line = b"(too long)\n" if rest.endswith(b"\n") else b"(too long)"
        if line.strip():
            yield line


def show(picture: Picture, lines: Iterator[bytes], out: TextIO) -> None:
    """Keep the picture in view until the lines end."""
    live = out.isatty()
    drawn_s = 0.0
    try:
        for line in lines:
            words = picture.take(line)
            if live and time.monotonic() - drawn_s >= REDRAW_S:
                drawn_s = time.monotonic()
                out.write(CLEAR + "\n".join(picture.lines()) + "\n")
            elif words and not live:
                out.write(words + "\n")
            else:
                continue
            out.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the rest is one summary
    out.write((CLEAR if live else "") + "\n".join(picture.lines()) + "\n")
    out.flush()


def main() -> None:
    """Read records from stdin until its end."""
    try:
        show(Picture(), lines_of(sys.stdin.buffer), sys.stdout)
    except BrokenPipeError:  # the reader of the output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
