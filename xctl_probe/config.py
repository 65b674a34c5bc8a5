"""What the user asked for: options, `XCTL_NETWORK_*` variables and a TOML file, checked."""

from __future__ import annotations

import difflib
import math
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from xctl_probe.aggregate import Filter
from xctl_probe.errors import UsageError
from xctl_probe.linux.links import Links, given_name
from xctl_probe.linux.rdma_ports import port_names
from xctl_probe.stalls.ignored_peers import IgnoredPeers

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_SHORTEST_S, _LONGEST_S = 0.01, 3600.0
_LONGEST_RUN_S = 1e9  # thirty years
_LONGEST_STALL_MS = 3_600_000  # an hour
_LARGEST_FILE_BYTES = 1 << 20
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h


class Backend(StrEnum):
    """Where facts come from; `auto` takes the best that works."""

    AUTO = "auto"
    EBPF = "ebpf"
    BCC = "bcc"
    SAMPLER = "sampler"


class Attach(StrEnum):
    """How the kernel programs attach; `auto` takes the best that this kernel has."""

    AUTO = "auto"
    FENTRY = "fentry"
    KPROBE = "kprobe"
    TRACEPOINT = "tracepoint"
    TRACEPOINT_FILES = "tracepoint_files"


class Format(StrEnum):
    """`auto`: text on a terminal, NDJSON elsewhere."""

    AUTO = "auto"
    NDJSON = "ndjson"
    TEXT = "text"


def check_stall_ms(stall_ms: int) -> None:
    """Raise UsageError where this is no least length of a stall."""
    if not 1 <= stall_ms <= _LONGEST_STALL_MS:
        raise UsageError(f"--stall-ms {stall_ms}: give milliseconds from 1 to {_LONGEST_STALL_MS}")


@dataclass(frozen=True, slots=True)
class Settings:
    """The stream's settings, valid.  `duration_ns` None: until told to stop."""

    interval_ns: int
    duration_ns: int | None
    stall_ns: int
    wanted: Filter
    backend: Backend
    format: Format
    sock_diag: bool
    attach: Attach = Attach.AUTO
    ignored_peers: IgnoredPeers = field(default_factory=IgnoredPeers)
    log: Callable[[str], None] | None = None  # takes what the kernel's loader has to say

    @classmethod
    def checked(
        cls,
        *,
        interval: float,
        duration: float | None,
        stall_ms: int,
        min_bw: float,
        pids: list[int],
        interfaces: list[str],
        loopback: bool,
        backend: Backend,
        output: Format,
        sock_diag: bool,
        attach: Attach,
        ignored_peers: list[str],
        log: Callable[[str], None] | None,
    ) -> Settings:
        """Settings from raw option values: seconds, milliseconds, Mbps.

        Raises UsageError naming the option and the remedy.
        """
        if not (_SHORTEST_S <= interval <= _LONGEST_S):  # false for NaN, too
            raise UsageError(
                f"--interval {interval} is not a length of time: "
                f"give seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}"
            )
        if duration is not None and not 0 < duration <= _LONGEST_RUN_S:
            raise UsageError(f"--duration {duration}: give seconds above 0, or leave it out")
        check_stall_ms(stall_ms)
        if not 0 <= min_bw < math.inf:
            raise UsageError(f"--min-bw {min_bw}: give Mbps from 0 up")
        for pid in pids:
            if not 1 <= pid <= _LARGEST_PID or not psutil.pid_exists(pid):
                raise UsageError(f"--pid {pid}: no such process; see `ps -e` for those there are")
        known = _interface_names()
        interfaces = [given_name(name) for name in interfaces]
        for name in interfaces:
            if name not in known:
                raise UsageError(f"--interface {name}: unknown; there are {', '.join(known)}")
        for peer in ignored_peers:
            try:
                IgnoredPeers.of([peer])
            except ValueError:
                raise UsageError(
                    f"--ignore-reply-wait {peer}: not a peer's address; give one as 10.0.0.7, "
                    "10.0.0.7:6379 or [fd00::7]:6379"
                ) from None
        wanted = Filter(min_bw, frozenset(pids), frozenset(interfaces), loopback)
        return cls(
            interval_ns=round(interval * _NS_PER_S),
            duration_ns=None if duration is None else round(duration * _NS_PER_S),
            stall_ns=stall_ms * _NS_PER_MS,
            wanted=wanted,
            backend=backend,
            format=output,
            sock_diag=sock_diag,
            attach=attach,
            ignored_peers=IgnoredPeers.of(ignored_peers),
            log=log,
        )


# Every key of the file, with the types it may have; a list may also be one of its items.
_KEYS: dict[str, tuple[type, ...]] = {
    "interval": (int, float),
    "duration": (int, float),
    "stall-ms": (int,),
    "min-bw": (int, float),
    "pid": (int, list),
    "interface": (str, list),
    "loopback": (bool,),
    "backend": (str,),
    "attach": (str,),
    "format": (str,),
    "ignore-reply-wait": (str, list),
    "patient": (str, list),
    "no-sock-diag": (bool,),
}
_ITEMS: dict[str, type] = {
    "pid": int,
    "interface": str,
    "ignore-reply-wait": str,
    "patient": str,
}
_FORMER_KEYS = frozenset({"patient"})  # they go on working, and are not shown

FileValue = int | float | str | bool | list[int] | list[str]


def read_file(path: Path) -> dict[str, FileValue]:
    """The settings in a TOML file, by long option name.

    Raises UsageError for a file that cannot be read, is no TOML, or has a key or a type of
    value that no option has.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE_BYTES + 1)  # of /dev/zero, not all
        if len(text) > _LARGEST_FILE_BYTES:
            raise UsageError(
                f"--config {path}: more than {_LARGEST_FILE_BYTES >> 20} MiB; "
                "give the path of a TOML file with these options"
            )
        table = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"--config {path}: {error.strerror}; give the path of a readable TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path}: not UTF-8 text at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--config {path}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path}: no settings, but something absurd in it") from error
    for key, value in table.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"known keys: {', '.join(k for k in _KEYS if k not in _FORMER_KEYS)}"
            )
            raise UsageError(f"--config {path}: unknown key {key!r}; {hint}")
        if not _fits(key, value):
            raise UsageError(f"--config {path}: {key} = {repr(value)[:40]} is not what it takes")
    return {
        key: [v] if key in _ITEMS and not isinstance(v, list) else v for key, v in table.items()
    }


def _interface_names() -> list[str]:
    links = Links()
    try:
        return [*(link.name for link in links.read()), *port_names()]
    finally:
        links.close()


def _fits(key: str, value: object) -> bool:
    if isinstance(value, list):
        return list in _KEYS[key] and all(_is(_ITEMS[key], item) for item in value)
    return any(_is(kind, value) for kind in _KEYS[key])


def _is(kind: type, value: object) -> bool:
    # Not isinstance: true is an int to Python, not to people.  And TOML's numbers have no end.
    if isinstance(value, int | float) and abs(value) > sys.maxsize:
        return False
    return type(value) is kind
