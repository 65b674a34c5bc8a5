"""Lines of the screen, for a terminal of any size: text and the name of a style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from xctl_probe.commands.recorded import ACTIVITIES
from xctl_probe.commands.top.model import (
    Failed,
    QueuePairs,
    Rates,
    Stalled,
    View,
    WaitedFor,
)
from xctl_probe.commands.top.ui import Mode, Shown, Ui, key_of, shown
from xctl_probe.commands.why.humanize import format_duration, processes, wrap
from xctl_probe.exporters.sanitize import printable
from xctl_probe.exporters.text import WAITS

_NS_PER_S = 1_000_000_000
_Row = TypeVar("_Row", Stalled, Rates, QueuePairs, WaitedFor)
_KEYS = "q quit  enter why  / filter  s sort  r reverse  p pause  ? help"
_LEAST_LINES = 4  # with fewer, the interfaces are left out
_LEAST_PROCESSES = 2
_MOST_APP = 24  # characters of the column of protocols
_HELP = """\
 up down k j     choose a line         enter   why does this process wait?
 page up, down   ten lines             esc     back; in the list: no filter
 home, end       first, last line      /       filter by pid, name or interface
 s               sort by total, rx, tx, pid, name
 r               the other way round   p       pause: go on measuring, hold the screen
 q, ctrl-c       quit                  .       of a recording: pause, one interval on

 WAITING  processes that the network does not let go on: for how long, for whom, why.
          A cause is peer_window (the peer does not read), send_buffer (a slow path),
          loss, pacing (its own limit), local_drop (this host drops it), keepalive
          (no host answers), no_reply (the peer has the request) or connecting.
          With --metrics protocols, the protocol of the socket comes before that.
 WAITED FOR  whom: processes of this host. One that computes while others wait for it is
          a straggler, and no fault of the network.
 TRAFFIC  payload by process and interface, in Mbps.
 RDMA     queue pairs by process and device: how many moved packets between two samples.
          One that did not is idle or stalled, which the kernel does not distinguish.
 ERRORS   retransmits, refusals, resets and the like in the last minute.
"""


class Line(NamedTuple):
    """A line of text and its style: a key of STYLES in command.py."""

    text: str
    style: str = ""


def draw(
    view: View, ui: Ui, width: int, height: int, *, title: str, why: Sequence[str] = ()
) -> list[Line]:
    """Return exactly `height` lines of at most `width` characters."""
    rows = shown(view, ui)
    head = [Line(_title(ui, title, width), "title")]
    if ui.mode is Mode.FILTER:
        foot = Line(f"filter by pid, name or interface: {ui.filter}_", "prompt")
    elif ui.mode is Mode.WHY:
        foot = Line("esc back  up down scroll", "keys")
    else:
        foot = Line(ui.message or _KEYS, "prompt" if ui.message else "keys")
    room = max(height - len(head) - 1, 0)
    if ui.mode is Mode.WHY:
        body = [Line(line) for line in _scrolled(wrap(why, width), ui.scroll, room)]
    elif ui.mode is Mode.HELP:
        body = [Line(line) for line in _HELP.splitlines()]
    else:
        body = _lists(rows, view.now_ns, ui, room, width)
    body = [*body, *[Line("")] * room][:room]
    lines = [*head, *body, foot][-height:] if height < len(head) + 1 else [*head, *body, foot]
    return [Line(printable(line.text)[:width], line.style) for line in lines]


def _title(ui: Ui, title: str, width: int) -> str:
    order = f"by {ui.sort}{', reversed' if ui.reverse else ''}"
    states = [f"filter {ui.filter!r}"] if ui.filter and ui.mode is not Mode.FILTER else []
    if ui.paused:
        states.insert(0, "PAUSED")
    right = "  ".join([*states, order])
    left = title[: max(width - len(right) - 2, 0)]
    return f"{left}{right:>{max(width - len(left), 0)}}"


def _lists(rows: Shown, now_ns: int, ui: Ui, room: int, width: int) -> list[Line]:
    """Return stalls, processes, queue pairs and errors: ongoing and latest ones first."""
    body = _interface_lines(rows.interfaces, width) if room > _LEAST_LINES else []
    left = room - len(body)
    errors = min(len(rows.errors), max(left // 4 - 1, 0))
    pairs = min(len(rows.queue_pairs), max(left // 4 - 1, 0))
    peers = min(len(rows.waited_for), max(left // 4 - 1, 0))
    below = sum(lines + 1 for lines in (errors, pairs, peers) if lines)
    running = sum(stall.ongoing for stall in rows.stalls)
    stalls = _stall_lines(rows, running, left - 2 - below)
    title = f"WAITING {running}, ended {len(rows.stalls) - running}"
    body.append(_heading(title, len(rows.stalls) - stalls, width))
    apps = _app_width([*rows.stalls, *rows.errors])
    body += [_stall_line(stall, now_ns, ui, apps) for stall in _window(rows.stalls, stalls, ui)]
    if peers:
        body.append(_heading("WAITED FOR on this host", len(rows.waited_for) - peers, width))
        body += [_peer_line(peer, ui) for peer in _window(rows.waited_for, peers, ui)]
        below -= peers + 1
    left = room - len(body) - below
    if left > 0:
        body.append(_heading("TRAFFIC", len(rows.processes) - (left - 1), width))
        body += [_process_line(p, ui) for p in _window(rows.processes, left - 1, ui)]
    if pairs:
        body.append(_heading("RDMA queue pairs", len(rows.queue_pairs) - pairs, width))
        body += [_queue_pair_line(p, ui) for p in _window(rows.queue_pairs, pairs, ui)]
    if errors:
        body += [Line("")] * max(room - len(body) - errors - 1, 0)
        body.append(_heading("ERRORS in the last minute", len(rows.errors) - errors, width))
        body += [_error_line(error, now_ns, apps) for error in rows.errors[:errors]]
    return body


def _stall_lines(rows: Shown, running: int, room: int) -> int:
    """Return the number of stalls to show: ongoing ones, and finished ones in a third of `room`."""
    others = len(rows.processes)
    wanted = max(running, room - others, room // 3)
    return max(min(len(rows.stalls), wanted, room - min(others, _LEAST_PROCESSES)), 0)


def _window(rows: Sequence[_Row], count: int, ui: Ui) -> Sequence[_Row]:
    """Return as many rows as fit, with the selected one among them."""
    keys = [key_of(row) for row in rows]
    at = keys.index(ui.selected) if ui.selected in keys else 0
    start = max(at - count + 1, 0)
    return rows[start : start + max(count, 0)]


def _heading(text: str, hidden: int, width: int) -> Line:
    more = f" ({hidden} more)" if hidden > 0 else ""
    return Line(f"{text}{more} ".ljust(width, "-"), "heading")


def _interface_lines(interfaces: Sequence[Rates], width: int) -> list[Line]:
    busy = sorted(interfaces, key=lambda i: -i.mbps)
    text = "   ".join(f"{i.interface} rx {i.rx_mbps:.1f} tx {i.tx_mbps:.1f}" for i in busy)
    packets = "   ".join(f"{i.interface} {i.packets}" for i in busy if i.packets)
    lines = [f"{text} Mbps", packets] if packets else [f"{text} Mbps"]
    return [Line(line[:width]) for line in lines] if busy else []


def _app_width(rows: Sequence[Stalled | Failed]) -> int:
    """Return the width of the column of protocols, 0 where there is none."""
    longest = max((len(row.app) for row in rows), default=0)
    return min(longest, _MOST_APP) + 1 if longest else 0


def _app(row: Stalled | Failed, width: int) -> str:
    return f"{row.app[: max(width - 1, 0)]:<{width}}"


def _stall_line(stall: Stalled, now_ns: int, ui: Ui, apps: int) -> Line:
    age = format_duration(stall.duration_ms)
    what = f"{WAITS[stall.direction]} {stall.remote}"
    cause = f" ({stall.cause})" if stall.cause else ""
    style = "stall"
    word = "waits"
    if not stall.ongoing:
        cause += f", ended {_ago(now_ns, stall.seen_ns)}"
        style, word = "ended", "waited"
    text = f"{_who(stall.pid, stall.comm)} {word:<6} {age:>10} {_app(stall, apps)}{what}{cause}"
    return Line(text, "selected" if key_of(stall) == ui.selected else style)


def _peer_line(peer: WaitedFor, ui: Ui) -> Line:
    does = ACTIVITIES[peer.activity] if peer.activity else "not known what it does"
    whom = processes(peer.waiting or peer.waiters)
    word = "for" if peer.waiting else "ended, for"
    text = (
        f"{_who(peer.pid, peer.comm)} by {whom}, {word} "
        f"{format_duration(peer.duration_ms)} in all: {does}"
    )
    style = "stall" if peer.waiting else "ended"
    return Line(text, "selected" if key_of(peer) == ui.selected else style)


def _process_line(process: Rates, ui: Ui) -> Line:
    text = (
        f"{_who(process.pid, process.comm)} {process.interface:<10} "
        f"rx {process.rx_mbps:>9.2f} tx {process.tx_mbps:>9.2f} Mbps"
    )
    return Line(text, "selected" if key_of(process) == ui.selected else "")


def _queue_pair_line(pairs: QueuePairs, ui: Ui) -> Line:
    style = "error" if pairs.on.failed else ""
    return Line(
        f"{_who(pairs.pid, pairs.comm)} {pairs.on.device:<10} {pairs.on.text}",
        "selected" if key_of(pairs) == ui.selected else style,
    )


def _error_line(error: Failed, now_ns: int, apps: int) -> Line:
    where = error.remote or error.interface or error.entity
    ago = _ago(now_ns, error.seen_ns)
    what = f"{_app(error, apps)}{error.what} {error.count}"
    text = f"{_who(error.pid, error.comm)} {what}  {where}, {ago}"
    return Line(text, "error")


def _ago(now_ns: int, seen_ns: int) -> str:
    seconds = (now_ns - seen_ns) // _NS_PER_S
    return f"{seconds} s ago" if seconds else "just now"


def _who(pid: int | None, comm: str) -> str:
    return f"{pid if pid is not None else '-':>7} {printable(comm)[:15]:<15}"


def _scrolled(lines: list[str], scroll: int, room: int) -> list[str]:
    start = min(scroll, max(len(lines) - room, 0))
    return lines[start : start + room]
