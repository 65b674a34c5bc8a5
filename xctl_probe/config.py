"""Settings from options, `XCTL_NETWORK_*` variables and a TOML file, with their checks."""

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
from xctl_probe.stalls.ignored_peers import IgnoredPeers

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_SHORTEST_S, _LONGEST_S = 0.01, 3600.0
_LONGEST_RUN_S = 1e9  # thirty years
_LONGEST_STALL_MS = 3_600_000  # an hour
_LARGEST_FILE_BYTES = 1 << 20
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h


class Backend(StrEnum):
    """Source of events; `auto`: the best one that works."""

    AUTO = "auto"
    EBPF = "ebpf"
    BCC = "bcc"
    SAMPLER = "sampler"


class Attach(StrEnum):
    """Attach variant of the kernel programs; `auto`: the best one that this kernel supports."""

    AUTO = "auto"
    FENTRY = "fentry"
    KPROBE = "kprobe"
    TRACEPOINT = "tracepoint"
    TRACEPOINT_FILES = "tracepoint_files"


class Format(StrEnum):
    """Output format; `auto`: text on a terminal, NDJSON elsewhere."""

    AUTO = "auto"
    NDJSON = "ndjson"
    TEXT = "text"


def check_stall_ms(stall_ms: int) -> None:
    """Raise UsageError where this is not a valid stall length."""
    if not 1 <= stall_ms <= _LONGEST_STALL_MS:
        raise UsageError(f"--stall-ms {stall_ms}: give milliseconds from 1 to {_LONGEST_STALL_MS}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Valid settings of the stream.  `duration_ns` None: until a signal."""

    interval_ns: int
    duration_ns: int | None
    stall_ns: int
    wanted: Filter
    backend: Backend
    format: Format
    sock_diag: bool
    attach: Attach = Attach.AUTO
    ignored_peers: IgnoredPeers = field(default_factory=IgnoredPeers)
    log: Callable[[str], None] | None = None  # receives messages of the kernel's loader

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
        """Return settings from option values: seconds, milliseconds, Mbps.

        Raises UsageError with the option and the remedy.
        """
        if not (_SHORTEST_S <= interval <= _LONGEST_S):  # false for NaN, too
            raise UsageError(
                f"--interval {interval}: not a valid length: "
                f"give seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}"
            )
        if duration is not None and not 0 < duration <= _LONGEST_RUN_S:
            raise UsageError(f"--duration {duration}: give seconds above 0, or leave it out")
        check_stall_ms(stall_ms)
        if not 0 <= min_bw < math.inf:
            raise UsageError(f"--min-bw {min_bw}: give Mbps from 0 up")
        for pid in pids:
            if not 1 <= pid <= _LARGEST_PID or not psutil.pid_exists(pid):
                raise UsageError(f"--pid {pid}: no such process; `ps -e` lists all")
        known = _interface_names()
        interfaces = [given_name(name) for name in interfaces]
        for name in interfaces:
            if name not in known:
                raise UsageError(
                    f"--interface {name}: no such interface; known: {', '.join(known)}"
                )
        for peer in ignored_peers:
            try:
                IgnoredPeers.of([peer])
            except ValueError:
                raise UsageError(
                    f"--ignore-reply-wait {peer}: not the address of a peer; give one as 10.0.0.7, "
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


# Keys of the file with their types; where a list is allowed, a single item is, too.
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
_FORMER_KEYS = frozenset({"patient"})  # accepted, not documented
_KIND_TEXTS = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    list: "a list",
    float: "a number",
}

FileValue = int | float | str | bool | list[int] | list[str]


def read_file(path: Path) -> dict[str, FileValue]:
    """Return the settings of a TOML file, by long option name.

    Raises UsageError for a file that is unreadable or not TOML, and for an unknown key or a value
    of the wrong type.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE_BYTES + 1)  # bounded, for files such as /dev/zero
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
        raise UsageError(
            f"--config {path}: cannot be parsed (nested too deeply, or a number out of range)"
        ) from error
    for key, value in table.items():
        if key not in _KEYS:
            similar = difflib.get_close_matches(key, _KEYS, n=1)
            hint = (
                f"did you mean {similar[0]!r}?"
                if similar
                else f"known keys: {', '.join(k for k in _KEYS if k not in _FORMER_KEYS)}"
            )
            raise UsageError(f"--config {path}: unknown key {key!r}; {hint}")
        if not _fits(key, value):
            raise UsageError(
                f"--config {path}: {key}: expected {_expected(key)}, got {repr(value)[:40]}"
            )
    return {
        key: [v] if key in _ITEMS and not isinstance(v, list) else v for key, v in table.items()
    }


def _interface_names() -> list[str]:
    links = Links()
    try:
        return [link.name for link in links.read()]
    finally:
        links.close()


def _fits(key: str, value: object) -> bool:
    if isinstance(value, list):
        return list in _KEYS[key] and all(_is(_ITEMS[key], item) for item in value)
    return any(_is(kind, value) for kind in _KEYS[key])


def _expected(key: str) -> str:
    kinds = _KEYS[key]
    texts = [text for kind, text in _KIND_TEXTS.items() if kind in kinds]
    return " or ".join(texts[-1:] if float in kinds else texts)


def _is(kind: type, value: object) -> bool:
    # Not isinstance: a bool is an int in Python.  Numbers of TOML are not bounded.
    if isinstance(value, int | float) and abs(value) > sys.maxsize:
        return False
    return type(value) is kind
