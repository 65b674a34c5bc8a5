"""What the user asked for: options, `XCTL_NETWORK_*` variables and a TOML file, checked."""

from __future__ import annotations

import difflib
import math
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from pathlib import Path
from typing import Any

import psutil

from xctl_probe.aggregate import Filter
from xctl_probe.errors import UsageError
from xctl_probe.linux.links import Links, given_name
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.policy import NS_PER_MS, STALL_MS

ENV = "XCTL_NETWORK_"  # before the name of a variable
_NS_PER_S = 1_000_000_000
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


def _check_interval(seconds: float) -> None:
    if not (_SHORTEST_S <= seconds <= _LONGEST_S):  # false for NaN, too
        raise UsageError(
            f"--interval {seconds} is not a length of time: "
            f"give seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}"
        )


def _check_duration(seconds: float) -> None:
    if not 0 < seconds <= _LONGEST_RUN_S:
        raise UsageError(f"--duration {seconds}: give seconds above 0, or leave it out")


def _check_min_bw(mbps: float) -> None:
    if not 0 <= mbps < math.inf:
        raise UsageError(f"--min-bw {mbps}: give Mbps from 0 up")


def _check_pid(pid: int) -> None:
    if not 1 <= pid <= _LARGEST_PID or not psutil.pid_exists(pid):
        raise UsageError(f"--pid {pid}: no such process; see `ps -e` for those there are")


def _check_interface(name: str) -> None:
    name, known = given_name(name), _interface_names()
    if name not in known:
        raise UsageError(f"--interface {name}: unknown; there are {', '.join(known)}")


def _check_peer(peer: str) -> None:
    try:
        IgnoredPeers.of([peer])
    except ValueError:
        raise UsageError(
            f"--ignore-reply-wait {peer}: not a peer's address; give one as 10.0.0.7, "
            "10.0.0.7:6379 or [fd00::7]:6379"
        ) from None


class Place(Flag):
    """Where an option may be given beside the command line."""

    NONE = 0
    VARIABLE = auto()
    FILE = auto()
    BOTH = VARIABLE | FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of the command.

    `name`: after `--`, and as key of the TOML file.  `kind`: the type of one value; a bool is a
    flag.  `many`: it may be repeated.  `default`: None where it may be left out.  `check` raises
    UsageError for a value that is none.  `sources`: those that it matters to, where not all.
    `former_values` go on working, and are not shown; nor is an option that is `hidden`.
    """

    name: str
    kind: type
    default: bool | float | str | None = None
    help: str
    check: Callable[[Any], None] | None = None
    many: bool = False
    metavar: str | None = None
    places: Place = Place.BOTH
    sources: tuple[str, ...] = ()
    former_values: Mapping[str, str] = field(default_factory=dict)
    hidden: bool = False

    @property
    def parameter(self) -> str:
        """The name in Python."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str | None:
        """The environment variable, None where it has none."""
        return ENV + self.parameter.upper() if Place.VARIABLE in self.places else None

    def current(self, value: str) -> str:
        """The present name of a value."""
        return self.former_values.get(value, value)

    def checked(self, value: Any) -> None:
        """Raise UsageError where this value, or one of these, is none."""
        if self.check is not None and value is not None:
            for one in value if self.many else (value,):
                self.check(one)


# The one table of options.  The command line (cli), the variables, the keys of the file, the man
# page, the completions and docs/options.md are made of it.
OPTIONS = (
    Option(
        name="interval",
        kind=float,
        default=1.0,
        check=_check_interval,
        help="Reporting interval in seconds.",
    ),
    Option(
        name="duration",
        kind=float,
        check=_check_duration,
        help="Seconds to run; for ever when left out.",
    ),
    Option(
        name="stall-ms",
        kind=int,
        default=STALL_MS,
        check=check_stall_ms,
        help="Milliseconds of waiting that make a stall.",
    ),
    Option(
        name="min-bw",
        kind=float,
        default=1.0,
        check=_check_min_bw,
        metavar="MBPS",
        help="Mbps below which a process gets no bandwidth record. "
        "A consumer reads a value below 1.0 as a process that waits.",
    ),
    Option(
        name="pid",
        kind=int,
        many=True,
        check=_check_pid,
        help="Only this process. May be repeated.",
    ),
    Option(
        name="interface",
        kind=str,
        many=True,
        check=_check_interface,
        help="Only this interface. May be repeated.",
    ),
    Option(
        name="ignore-reply-wait",
        kind=str,
        many=True,
        check=_check_peer,
        metavar="PEER[:PORT]",
        help="A peer that answers when it sees fit, as a queue or a long poll does: "
        "waits for its replies are no stalls. May be repeated.",
    ),
    Option(
        name="patient",
        kind=str,
        many=True,
        check=_check_peer,
        hidden=True,
        help="The former name of --ignore-reply-wait.",
    ),
    Option(
        name="loopback",
        kind=bool,
        default=False,
        help="Bandwidth of lo, too.",
    ),
    Option(
        name="backend",
        kind=Backend,
        default=Backend.AUTO,
        former_values={"proc": "sampler"},
        help="Where facts come from; auto: best that works.",
    ),
    Option(
        name="attach",
        kind=Attach,
        default=Attach.AUTO,
        sources=("ebpf",),
        help="How ebpf attaches; auto: best there is.",
    ),
    Option(
        name="format",
        kind=Format,
        default=Format.AUTO,
        help="auto: text on a terminal only.",
    ),
    Option(
        name="no-sock-diag",
        kind=bool,
        default=False,
        sources=("sampler",),
        help="Sample /proc/net only, as where sock_diag is refused.",
    ),
    Option(
        name="trace",
        kind=bool,
        default=False,
        places=Place.NONE,
        sources=("ebpf",),
        help="Print every send and receive call (debugging; ebpf only).",
    ),
    Option(
        name="verbose",
        kind=bool,
        default=False,
        places=Place.NONE,
        sources=("ebpf", "bcc"),
        help="Show what the loader of the programs says.",
    ),
    Option(
        name="config",
        kind=Path,
        places=Place.VARIABLE,
        help="A TOML file with these options by their long names.",
    ),
    Option(
        name="version",
        kind=bool,
        default=False,
        places=Place.NONE,
        help="Show and exit.",
    ),
)

FILE_KEYS = {option.name: option for option in OPTIONS if Place.FILE in option.places}


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
        cls, given: Mapping[str, Any], log: Callable[[str], None] | None = None
    ) -> Settings:
        """Settings from the values of options by their parameters; None: the default.

        Raises UsageError naming the option and the remedy.
        """
        values: dict[str, Any] = {}
        for option in OPTIONS:
            value = given.get(option.parameter)
            absent = () if option.many else option.default
            values[option.parameter] = absent if value is None else value
            option.checked(values[option.parameter])
        return cls(
            interval_ns=round(values["interval"] * _NS_PER_S),
            duration_ns=None
            if values["duration"] is None
            else round(values["duration"] * _NS_PER_S),
            stall_ns=values["stall_ms"] * NS_PER_MS,
            wanted=Filter(
                values["min_bw"],
                frozenset(values["pid"]),
                frozenset(map(given_name, values["interface"])),
                values["loopback"],
            ),
            backend=values["backend"],
            format=values["format"],
            sock_diag=not values["no_sock_diag"],
            attach=values["attach"],
            ignored_peers=IgnoredPeers.of([*values["ignore_reply_wait"], *values["patient"]]),
            log=log,
        )


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
    return {key: _file_value(path, key, value) for key, value in table.items()}


def _file_value(path: Path, key: str, value: object) -> FileValue:
    """One value of the file, with its present name; in a list where there may be many."""
    option = FILE_KEYS.get(key)
    if option is None:
        similar = difflib.get_close_matches(key, FILE_KEYS, n=1)
        shown = (name for name, known in FILE_KEYS.items() if not known.hidden)
        hint = f"did you mean {similar[0]!r}?" if similar else f"known keys: {', '.join(shown)}"
        raise UsageError(f"--config {path}: unknown key {key!r}; {hint}")
    values = value if option.many and isinstance(value, list) else [value]
    if not all(_is(option.kind, one) for one in values):
        raise UsageError(f"--config {path}: {key} = {repr(value)[:40]} is not what it takes")
    found: list[Any] = [option.current(v) if isinstance(v, str) else v for v in values]
    return found if option.many else found[0]


def _interface_names() -> list[str]:
    links = Links()
    try:
        return [link.name for link in links.read()]
    finally:
        links.close()


def _is(kind: type, value: object) -> bool:
    """True where a value of TOML is one of an option's; an enum's are texts."""
    # Not isinstance: true is an int to Python, not to people.  And TOML's numbers have no end.
    if isinstance(value, int | float) and abs(value) > sys.maxsize:
        return False
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (str if issubclass(kind, StrEnum) else kind)
