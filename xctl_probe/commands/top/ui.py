"""State of the user interface, and the effect of each key.  It needs no terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from xctl_probe.commands.top.model import Failed, QueuePairs, Rates, Stalled, View, WaitedFor


class Mode(StrEnum):
    """Mode of the screen."""

    LIST = "list"
    FILTER = "filter"  # keys are letters of the filter
    WHY = "why"
    HELP = "help"


class Sort(StrEnum):
    """Order of the processes."""

    TOTAL = "total"
    RECEIVED = "rx"
    SENT = "tx"
    PID = "pid"
    NAME = "name"


_ORDER: dict[Sort, Callable[[Rates], tuple[object, ...]]] = {
    Sort.TOTAL: lambda r: (-r.mbps, r.pid),
    Sort.RECEIVED: lambda r: (-r.rx_mbps, r.pid),
    Sort.SENT: lambda r: (-r.tx_mbps, r.pid),
    Sort.PID: lambda r: (r.pid, r.interface),
    Sort.NAME: lambda r: (r.comm, r.pid),
}
_SORTS = tuple(Sort)
_PAGE = 10
_LONGEST_FILTER = 40


@dataclass(frozen=True, slots=True)
class Ui:
    """Choices of the user.  `selected` is a line of `selectable`, `scroll` one of the why text."""

    mode: Mode = Mode.LIST
    sort: Sort = Sort.TOTAL
    reverse: bool = False
    paused: bool = False
    filter: str = ""
    selected: tuple[str, int | None, str] | None = None
    scroll: int = 0
    why_pid: int | None = None
    message: str = ""
    quit: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """Rows that pass the filter, in the order of the screen."""

    interfaces: tuple[Rates, ...]
    processes: tuple[Rates, ...]
    stalls: tuple[Stalled, ...]
    errors: tuple[Failed, ...]
    queue_pairs: tuple[QueuePairs, ...] = ()
    waited_for: tuple[WaitedFor, ...] = ()

    @property
    def selectable(self) -> list[tuple[str, int | None, str]]:
        """Return the selectable lines, from top to bottom."""
        return [
            *map(key_of, self.stalls),
            *map(key_of, self.waited_for),
            *map(key_of, self.processes),
            *map(key_of, self.queue_pairs),
        ]


def key_of(row: Stalled | Rates | QueuePairs | WaitedFor) -> tuple[str, int | None, str]:
    """Return the identity of a row, whose numbers may change."""
    if isinstance(row, QueuePairs):
        return "queue pairs", row.pid, row.on.device
    if isinstance(row, WaitedFor):
        return "waited for", row.pid, ""
    if isinstance(row, Stalled):
        ended = "" if row.ongoing else str(row.seen_ns)
        return row.entity, row.pid, f"{row.direction}{ended}"
    return "process", row.pid, row.interface


def shown(view: View, ui: Ui) -> Shown:
    """Return the filtered and ordered rows."""
    wanted = ui.filter.lower()

    def fits(row: Rates | Stalled | Failed | QueuePairs | WaitedFor) -> bool:
        if not wanted or (row.pid is not None and str(row.pid) == wanted):
            return True
        return wanted in row.comm.lower() or wanted in _place(row).lower()

    processes = sorted(filter(fits, view.processes), key=_ORDER[ui.sort], reverse=ui.reverse)
    return Shown(
        view.interfaces,
        tuple(processes),
        tuple(filter(fits, view.stalls)),
        tuple(filter(fits, view.errors)),
        # Failed ones first; then as they are, which is by pid.
        tuple(sorted(filter(fits, view.queue_pairs), key=lambda row: not row.on.failed)),
        tuple(filter(fits, view.waited_for)),
    )


def _place(row: Rates | Stalled | Failed | QueuePairs | WaitedFor) -> str:
    if isinstance(row, WaitedFor):
        return ""
    return row.on.device if isinstance(row, QueuePairs) else row.interface


def on_key(ui: Ui, key: str, rows: Shown) -> Ui:
    """Return the state after a key; `key` is a character or a name from keys.py."""
    ui = replace(ui, message="")
    if key == "ctrl-c":
        return replace(ui, quit=True)
    if ui.mode is Mode.FILTER:
        return _filter_key(ui, key)
    if ui.mode is Mode.WHY:
        return _why_key(ui, key)
    if ui.mode is Mode.HELP:
        return replace(ui, mode=Mode.LIST, quit=key == "q")
    return _list_key(ui, key, rows)


def _list_key(ui: Ui, key: str, rows: Shown) -> Ui:
    match key:
        case "q":
            return replace(ui, quit=True)
        case "p" | " ":
            return replace(ui, paused=not ui.paused)
        case "s":
            return replace(ui, sort=_SORTS[(_SORTS.index(ui.sort) + 1) % len(_SORTS)])
        case "r":
            return replace(ui, reverse=not ui.reverse)
        case "/":
            return replace(ui, mode=Mode.FILTER)
        case "escape":
            return replace(ui, filter="", selected=None)
        case "?" | "h":
            return replace(ui, mode=Mode.HELP)
        case "enter":
            return _opened(ui, rows)
    step = {"down": 1, "j": 1, "up": -1, "k": -1, "page-down": _PAGE, "page-up": -_PAGE}.get(key)
    lines = rows.selectable
    if not lines:
        return ui
    if key in ("home", "end"):
        return replace(ui, selected=lines[0 if key == "home" else -1])
    if step is None:
        return ui
    if ui.selected not in lines:
        return replace(ui, selected=lines[0])
    at = lines.index(ui.selected) + step
    return replace(ui, selected=lines[max(0, min(at, len(lines) - 1))])


def _opened(ui: Ui, rows: Shown) -> Ui:
    lines = rows.selectable
    chosen = ui.selected if ui.selected in lines else (lines[0] if lines else None)
    if chosen is None:
        return replace(ui, message="there is no process to open")
    if chosen[1] is None:
        return replace(ui, message="its process is not visible to us: run as root")
    return replace(ui, mode=Mode.WHY, selected=chosen, why_pid=chosen[1], scroll=0)


def _filter_key(ui: Ui, key: str) -> Ui:
    if key == "enter":
        return replace(ui, mode=Mode.LIST)
    if key == "escape":
        return replace(ui, mode=Mode.LIST, filter="")
    if key == "backspace":
        return replace(ui, filter=ui.filter[:-1])
    if len(key) == 1 and " " <= key <= "~" and len(ui.filter) < _LONGEST_FILTER:
        return replace(ui, filter=ui.filter + key)
    return ui


def _why_key(ui: Ui, key: str) -> Ui:
    if key in ("escape", "q", "enter", "left"):
        return replace(ui, mode=Mode.LIST, why_pid=None)
    step = {"down": 1, "j": 1, "up": -1, "k": -1, "page-down": _PAGE, "page-up": -_PAGE}.get(key)
    return replace(ui, scroll=max(ui.scroll + step, 0)) if step else ui
