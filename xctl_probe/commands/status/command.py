"""The command `status`: asks the probes that run here."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xctl_probe.commands.status.report import Shown, shown, to_json, to_text, verdict
from xctl_probe.errors import UsageError
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.signals import stop_signals
from xctl_probe.status.client import find, results
from xctl_probe.status.directory import known_directories, own_directories

_SHORTEST_S, _LONGEST_S = 0.1, 3600.0
_CLEAR = b"\x1b[H\x1b[2J"  # cursor home, erase all: ECMA-48
_Directories = Callable[[Mapping[str, str], int], list[Path]]


def run(
    stdout: int,
    *,
    directory: str | None,
    pid: int | None,
    as_json: bool,
    check: bool,
    watch_s: float | None,
) -> int:
    """Write the figures; return the exit code: with `check`, 1 where a probe is unhealthy.

    `directory` is that of --status-dir; `watch_s` asks again and again.  A check without `pid` is
    of the own probes: any user could make that of root fail, or pass.  Raises UsageError where no
    probe runs, with what can be done.
    """
    if watch_s is not None and not _SHORTEST_S <= watch_s <= _LONGEST_S:
        raise UsageError(f"--watch {watch_s}: give seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}")
    if watch_s is not None and check:
        raise UsageError("--check --watch: give one of them; a check is for one moment")
    own = check and pid is None
    probes = _ask(directory, pid, own_directories if own else known_directories)
    if not probes:
        raise _none(directory, pid, own=own)
    if watch_s is None:
        write_answer(stdout, _answer(probes, as_json=as_json, check=check))
        return 0 if not check or all(one.healthy for one in probes) else 1
    clear = _CLEAR if os.isatty(stdout) and not as_json else b""
    apart = b"" if clear or as_json else b"\n"
    with stop_signals() as stop:
        while write_answer(stdout, clear + _answer(probes, as_json=as_json) + apart):
            if select.select([stop], [], [], watch_s)[0]:
                break
            probes = _ask(directory, pid)  # none, while it starts again
    return 0


def _ask(
    directory: str | None, pid: int | None, directories: _Directories = known_directories
) -> list[Shown]:
    """Return all probes, or that with this pid."""
    places = [Path(directory)] if directory else directories(os.environ, os.geteuid())
    found = results(find(places), "status", shown)
    return [one for one in found if pid in (None, one.pid)]


def _none(directory: str | None, pid: int | None, *, own: bool) -> UsageError:
    if own and not directory and os.geteuid() == 0:
        return UsageError(
            "no probe of root or of a service runs here; start one, give the --status-dir that it "
            "was started with, or the pid of another user's"
        )
    which = "no probe" if pid is None else f"no probe with pid {pid}"
    where = f"in {directory}" if directory else "here"
    others = "" if os.geteuid() == 0 else "; root asks those of other users"
    return UsageError(
        f"{which} runs {where} that this user may ask; start one, or give the --status-dir that "
        f"it was started with{others}"
    )


def _answer(probes: Sequence[Shown], *, as_json: bool, check: bool = False) -> bytes:
    if as_json:
        return to_json(probes)
    if check:
        return verdict(probes)
    return to_text(probes) if probes else b"no probe runs\n"
