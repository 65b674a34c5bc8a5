"""Settings from options, `XCTL_NETWORK_*` variables and a TOML file, with their checks."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from pathlib import Path
from typing import Any, Literal

from xctl_probe.aggregate import Filter
from xctl_probe.ebpf.packets_hook import PacketsHook
from xctl_probe.errors import UsageError
from xctl_probe.exporters.origin import is_host_name
from xctl_probe.linux.budget import SHARE
from xctl_probe.linux.links import Links, given_name
from xctl_probe.linux.rdma_ports import port_names
from xctl_probe.metrics import COSTS, DEFAULT, Metric, text_of
from xctl_probe.metrics import parse as parse_metrics
from xctl_probe.otlp import url as otlp_url
from xctl_probe.prometheus import address as prometheus_address
from xctl_probe.recordings.limits import MOST_MIB, SIZE_MIB, SPAN, Limits, span_ms
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.policy import NS_PER_MS, REPLY_MS, STALL_MS

ENV = "XCTL_NETWORK_"  # before the name of a variable
_NS_PER_S = 1_000_000_000
_SHORTEST_S, _LONGEST_S = 0.01, 3600.0
_LONGEST_RUN_S = 1e9  # thirty years
_LONGEST_STALL_MS = 3_600_000  # an hour
_LEAST_PROC_BUDGET, _MOST_PROC_BUDGET = 0.1, 100.0  # percent of a core
_LARGEST_FILE_BYTES = 1 << 20
_ALIKE = 0.75  # of names, at least: PORT, which Kubernetes sets of a service, is not FORMAT
_MOST_UNKNOWN = 3  # that are named
_MOST_PROMETHEUS_PIDS = 1_000
_PROMETHEUS_SUFFIX = ".prom"  # node_exporter reads no other file
OTLP_S = 10.0
_MOST_OTLP_S = 3600.0
_WITH_PROTOCOLS = frozenset((Metric.STALLS, Metric.ERRORS))  # whose records have the protocol
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


# What `auto` stands for: one of these.
ConcreteFormat = Literal[Format.NDJSON, Format.TEXT]


def check_stall_ms(stall_ms: int, name: str = "stall-ms") -> None:
    """Raise UsageError where this is not a valid stall length."""
    if not 1 <= stall_ms <= _LONGEST_STALL_MS:
        raise UsageError(f"--{name} {stall_ms}: give milliseconds from 1 to {_LONGEST_STALL_MS}")


def _check_reply_ms(reply_ms: int) -> None:
    check_stall_ms(reply_ms, "reply-ms")


def _check_interval(seconds: float) -> None:
    if not (_SHORTEST_S <= seconds <= _LONGEST_S):  # false for NaN, too
        raise UsageError(
            f"--interval {seconds}: not a valid length: "
            f"give seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}"
        )


def _check_duration(seconds: float) -> None:
    if not 0 < seconds <= _LONGEST_RUN_S:
        raise UsageError(f"--duration {seconds}: give seconds above 0, or leave it out")


def _check_min_bw(mbps: float) -> None:
    if not 0 <= mbps < math.inf:
        raise UsageError(f"--min-bw {mbps}: give Mbps from 0 up")


def _check_metrics(text: str) -> None:
    try:
        metrics = parse_metrics(text)
    except ValueError as error:
        remedy = f"give a list of {', '.join(Metric)}, with commas"
        if str(error) == "syscalls":
            remedy = "system calls are counted of one process: xctl-probe-network profile PID"
        raise UsageError(f"--metrics {text}: no metric {str(error)!r}; {remedy}") from None
    if Metric.PROTOCOLS in metrics and not metrics & _WITH_PROTOCOLS:
        raise UsageError(
            f"--metrics {text}: protocols adds to stalls and errors, and neither is "
            f"measured; give --metrics {text_of(metrics | _WITH_PROTOCOLS)}"
        )


def _check_proc_budget(percent: float) -> None:
    if not _LEAST_PROC_BUDGET <= percent <= _MOST_PROC_BUDGET:
        raise UsageError(
            f"--proc-budget {percent}: give percent of a core "
            f"from {_LEAST_PROC_BUDGET} to {_MOST_PROC_BUDGET:.0f}"
        )


def _check_pid(pid: int) -> None:
    import psutil  # noqa: PLC0415 - 1 MiB, which most runs do without

    if not 1 <= pid <= _LARGEST_PID or not psutil.pid_exists(pid):
        raise UsageError(f"--pid {pid}: no such process; `ps -e` lists all")


def _check_interface(name: str) -> None:
    known = _interface_names()
    if name not in known:
        raise UsageError(f"--interface {name}: no such interface; known: {', '.join(known)}")


def _check_peer(peer: str) -> None:
    try:
        IgnoredPeers.of([peer])
    except ValueError:
        raise UsageError(
            f"--ignore-reply-wait {peer}: not the address of a peer; give one as 10.0.0.7, "
            "10.0.0.7:6379 or [fd00::7]:6379"
        ) from None


def check_span(text: str, name: str) -> int:
    """Return the ms of a length of time.  Raises UsageError where it is invalid."""
    try:
        return span_ms(text)
    except ValueError:
        raise UsageError(
            f"--{name} {text}: not a length of time: give one as 90s, 10m, 2h or 1d"
        ) from None


def _check_host(name: str) -> None:
    if not is_host_name(name):
        raise UsageError(
            f"--host {name!r}: give 1 to 64 characters of printable ASCII without spaces"
        )


def _check_record(path: str) -> None:
    if not path or "\0" in path:
        raise UsageError(f"--record {path!r}: give the path of a directory")


def _check_status_dir(path: str) -> None:
    if not path or "\0" in path:
        raise UsageError(f"--status-dir {path!r}: give the path of a directory")


def _check_record_for(text: str) -> None:
    check_span(text, "record-for")


def _check_record_size(mib: int) -> None:
    if not 1 <= mib <= MOST_MIB:
        raise UsageError(f"--record-size {mib}: give MiB from 1 to {MOST_MIB}")


def _check_prometheus(text: str) -> None:
    try:
        prometheus_address.parse(text)
    except ValueError:
        raise UsageError(
            f"--prometheus {text}: not an address to listen at; "
            "give one as 9599, 10.0.0.7:9599 or [fd00::7]:9599"
        ) from None


def _check_prometheus_file(path: str) -> None:
    name = Path(path).name
    if "\0" in path or not name.endswith(_PROMETHEUS_SUFFIX) or name == _PROMETHEUS_SUFFIX:
        raise UsageError(
            f"--prometheus-file {path!r}: node_exporter does not read it; "
            f"give the path of a file as xctl{_PROMETHEUS_SUFFIX}"
        )


def _check_prometheus_pids(count: int) -> None:
    if not 0 <= count <= _MOST_PROMETHEUS_PIDS:
        raise UsageError(
            f"--prometheus-pids {count}: give a number of processes from 0 to "
            f"{_MOST_PROMETHEUS_PIDS}"
        )


def _check_otlp(text: str) -> None:
    try:
        otlp_url.parse(text)
    except ValueError:
        raise UsageError(
            f"--otlp {text}: not the address of a receiver of OTLP/HTTP; "
            "give one as http://127.0.0.1:4318"
        ) from None


def _check_otlp_interval(seconds: float) -> None:
    if not 1 <= seconds <= _MOST_OTLP_S:
        raise UsageError(f"--otlp-interval {seconds}: give seconds from 1 to {_MOST_OTLP_S:.0f}")


class Place(Flag):
    """Other places of an option than the command line."""

    NONE = 0
    VARIABLE = auto()
    FILE = auto()
    BOTH = VARIABLE | FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Option of the command.

    `name`: after `--`, and key of the TOML file.  `kind`: type of one value; a bool is a flag.
    `many`: repeatable.  `default`: None for an option without one.  `check` raises UsageError for
    an invalid value.  `sources`: the sources that use it, where not all do.  `former_values` are
    accepted and not documented, like a `hidden` option.
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
        """Name of the parameter in Python."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str | None:
        """Name of the environment variable, None where it has none."""
        return ENV + self.parameter.upper() if Place.VARIABLE in self.places else None

    def current(self, value: str) -> str:
        """Return the current name of a value."""
        return self.former_values.get(value, value)

    def checked(self, value: Any) -> None:
        """Raise UsageError where this value, or one of these, is invalid."""
        if self.check is not None and value is not None:
            for one in value if self.many else (value,):
                self.check(one)


# The only table of options.  The command line (cli), the variables, the keys of the file, the man
# page, the completions and docs/options.md are generated from it.
OPTIONS = (
    Option(
        name="interval",
        kind=float,
        default=1.0,
        check=_check_interval,
        help="Seconds between two reports.",
    ),
    Option(
        name="duration",
        kind=float,
        check=_check_duration,
        help="Seconds to run. Without it: until a signal.",
    ),
    Option(
        name="metrics",
        kind=str,
        default=text_of(DEFAULT),
        check=_check_metrics,
        metavar="NAME,...",
        help="What to measure; the rest is neither loaded nor attached. "
        + "; ".join(f"{metric}: {cost}" for metric, cost in COSTS.items())
        + ".",
    ),
    Option(
        name="stall-ms",
        kind=int,
        default=STALL_MS,
        check=check_stall_ms,
        help="Least length of a stall in milliseconds.",
    ),
    Option(
        name="reply-ms",
        kind=int,
        default=REPLY_MS,
        check=_check_reply_ms,
        help="Least length of a stall where the peer has the request and has not replied.",
    ),
    Option(
        name="min-bw",
        kind=float,
        default=1.0,
        check=_check_min_bw,
        metavar="MBPS",
        help="Least Mbps for the bandwidth record of a process. "
        "Consumers take a value below 1.0 for a process that waits.",
    ),
    Option(
        name="pid",
        kind=int,
        many=True,
        help="Of processes, report only this one; interfaces are reported all the same. "
        "Repeatable.",
    ),
    Option(
        name="interface",
        kind=str,
        many=True,
        help="Report only this interface. Repeatable.",
    ),
    Option(
        name="ignore-reply-wait",
        kind=str,
        many=True,
        check=_check_peer,
        metavar="PEER[:PORT]",
        help="Do not report reply waits for this peer, such as a queue or a long poll. Repeatable.",
    ),
    Option(
        name="report-probable",
        kind=bool,
        default=False,
        help="Also report waits that are only likely to be stalls, with net.probable: the peer has "
        "read the request and seems idle, but always replied soon before.",
    ),
    Option(
        name="patient",
        kind=str,
        many=True,
        check=_check_peer,
        hidden=True,
        help="Former name of --ignore-reply-wait.",
    ),
    Option(
        name="proc-budget",
        kind=float,
        default=SHARE * 100,
        check=_check_proc_budget,
        metavar="PERCENT",
        help="Most CPU for reads of /proc about owners and peers, in percent of a core. "
        "On a slow CPU a higher value finds them sooner.",
    ),
    Option(
        name="no-process-state",
        kind=bool,
        default=False,
        help="No process.state records: when a process of a job begins to use the network, "
        "and when it exits.",
    ),
    Option(
        name="connections",
        kind=bool,
        default=False,
        help="Report the connections of each process of a job, and what it does: "
        "blame FILE... follows waits to other hosts by them.",
    ),
    Option(
        name="host",
        kind=str,
        check=_check_host,
        metavar="NAME",
        help="Name of this host in the records. Without it: that of the kernel.",
    ),
    Option(
        name="loopback",
        kind=bool,
        default=False,
        help="Report bandwidth of lo; --interface lo does so, too.",
    ),
    Option(
        name="backend",
        kind=Backend,
        default=Backend.AUTO,
        former_values={"proc": "sampler"},
        help="Source of events; auto: the best that works.",
    ),
    Option(
        name="attach",
        kind=Attach,
        default=Attach.AUTO,
        sources=("ebpf",),
        help="Attach variant; auto: the best that works.",
    ),
    Option(
        name="packets-hook",
        kind=PacketsHook,
        default=PacketsHook.TCX,
        help="With packets in --metrics: where packets are counted. xdp: what is received before "
        "it is merged, on any interface with Ethernet headers; xdp-native: in the driver, which "
        "may reset the interface.",
    ),
    Option(
        name="format",
        kind=Format,
        default=Format.AUTO,
        help="auto: text on a terminal, else ndjson.",
    ),
    Option(
        name="no-sock-diag",
        kind=bool,
        default=False,
        sources=("sampler",),
        help="Let the sampler read /proc/net, as where sock_diag is refused.",
    ),
    Option(
        name="record",
        kind=str,
        check=_check_record,
        metavar="DIR",
        help="Keep the records of the last minutes in this directory. "
        "why --since and blame --since read it.",
    ),
    Option(
        name="record-for",
        kind=str,
        default=SPAN,
        check=_check_record_for,
        metavar="TIME",
        help="How long records are kept: 90s, 60m, 2h, 1d.",
    ),
    Option(
        name="record-size",
        kind=int,
        default=SIZE_MIB,
        check=_check_record_size,
        metavar="MIB",
        help="Most MiB that the recording takes. The oldest records are removed first.",
    ),
    Option(
        name="prometheus",
        kind=str,
        check=_check_prometheus,
        metavar="[ADDRESS:]PORT",
        help="Serve metrics for Prometheus at /metrics, and /healthz; "
        "on loopback unless an address is given.",
    ),
    Option(
        name="prometheus-file",
        kind=str,
        check=_check_prometheus_file,
        metavar="PATH",
        help="Write the metrics to this file, for the textfile collector of node_exporter. "
        "Its name has .prom at the end.",
    ),
    Option(
        name="prometheus-pids",
        kind=int,
        default=0,
        check=_check_prometheus_pids,
        metavar="N",
        help="Give so many processes series of their own, with the label pid: those that moved "
        "the most bytes, and those that waited the longest.",
    ),
    Option(
        name="otlp",
        kind=str,
        check=_check_otlp,
        metavar="URL",
        help="Send metrics, stalls and errors to a receiver of OTLP/HTTP (OpenTelemetry), "
        "such as http://127.0.0.1:4318.",
    ),
    Option(
        name="otlp-interval",
        kind=float,
        default=OTLP_S,
        check=_check_otlp_interval,
        help="Seconds between two messages of metrics to --otlp. Stalls and errors are sent at "
        "once.",
    ),
    Option(
        name="otlp-metrics-only",
        kind=bool,
        default=False,
        help="Send no stalls and errors to --otlp, for receivers without logs such as Prometheus.",
    ),
    Option(
        name="status-dir",
        kind=str,
        check=_check_status_dir,
        metavar="DIR",
        help="Directory of the socket that status asks. Without it: /run/xctl-probe-network for "
        "root, else xctl-probe-network in $XDG_RUNTIME_DIR.",
    ),
    Option(
        name="trace",
        kind=bool,
        default=False,
        places=Place.NONE,
        sources=("ebpf",),
        help="Print each send and receive call (debugging; ebpf only).",
    ),
    Option(
        name="verbose",
        kind=bool,
        default=False,
        places=Place.NONE,
        help="Print the messages of the program loader, and why there is no socket for status.",
    ),
    Option(
        name="config",
        kind=Path,
        places=Place.VARIABLE,
        help="TOML file with these options, by long name.",
    ),
    Option(
        name="version",
        kind=bool,
        default=False,
        places=Place.NONE,
        help="Print the version and exit.",
    ),
)

FILE_KEYS = {option.name: option for option in OPTIONS if Place.FILE in option.places}


@dataclass(frozen=True, slots=True)
class Settings:
    """Valid settings of the stream.  `duration_ns` None: until a signal."""

    interval_ns: int
    duration_ns: int | None
    stall_ns: int
    reply_ns: int
    wanted: Filter
    backend: Backend
    format: Format
    sock_diag: bool
    attach: Attach = Attach.AUTO
    process_state: bool = True  # records of the processes of jobs
    connections: bool = False  # and of their connections
    host: str | None = None  # None: the name that the kernel has
    proc_share: float = SHARE  # of a core, for reads of /proc about owners and peers
    packets_hook: PacketsHook = PacketsHook.TCX
    report_probable: bool = False
    ignored_peers: IgnoredPeers = field(default_factory=IgnoredPeers)
    record: Path | None = None  # directory of the recording, None: none
    record_limits: Limits = field(default_factory=Limits)
    prometheus: prometheus_address.Address | None = None  # to serve metrics at, None: not served
    prometheus_file: Path | None = None  # of metrics, None: none
    prometheus_pids: int = 0  # processes with series of their own
    otlp: otlp_url.Url | None = None  # to send metrics and events to, None: not sent
    otlp_s: float = OTLP_S  # between two messages of metrics
    otlp_metrics_only: bool = False
    status_dir: Path | None = None  # directory of the socket for `status`, None: the default
    log: Callable[[str], None] | None = None  # receives what --verbose prints

    @classmethod
    def checked(
        cls,
        given: Mapping[str, Any],
        log: Callable[[str], None] | None = None,
        *,
        of_this_host: bool = True,
    ) -> Settings:
        """Return settings from option values by parameter; None: the default.

        `of_this_host`: False where they may be for a recording, whose processes and interfaces need
        not exist; see `check_host`.  Raises UsageError with the option and the remedy.
        """
        values: dict[str, Any] = {}
        for option in OPTIONS:
            value = given.get(option.parameter)
            absent = () if option.many else option.default
            values[option.parameter] = absent if value is None else value
            option.checked(values[option.parameter])
        if values["connections"] and values["no_process_state"]:
            raise UsageError(
                "--connections: its records are of process.state; leave --no-process-state out"
            )
        settings = cls(
            interval_ns=round(values["interval"] * _NS_PER_S),
            duration_ns=None
            if values["duration"] is None
            else round(values["duration"] * _NS_PER_S),
            stall_ns=values["stall_ms"] * NS_PER_MS,
            reply_ns=values["reply_ms"] * NS_PER_MS,
            wanted=Filter(
                values["min_bw"],
                frozenset(values["pid"]),
                frozenset(map(given_name, values["interface"])),
                values["loopback"],
                parse_metrics(values["metrics"]),
            ),
            backend=values["backend"],
            format=values["format"],
            sock_diag=not values["no_sock_diag"],
            attach=values["attach"],
            process_state=not values["no_process_state"],
            connections=values["connections"],
            host=values["host"],
            proc_share=values["proc_budget"] / 100,
            packets_hook=values["packets_hook"],
            report_probable=values["report_probable"],
            ignored_peers=IgnoredPeers.of([*values["ignore_reply_wait"], *values["patient"]]),
            record=Path(values["record"]) if values["record"] is not None else None,
            prometheus=prometheus_address.parse(values["prometheus"])
            if values["prometheus"] is not None
            else None,
            prometheus_file=Path(values["prometheus_file"])
            if values["prometheus_file"] is not None
            else None,
            prometheus_pids=values["prometheus_pids"],
            otlp=otlp_url.parse(values["otlp"]) if values["otlp"] is not None else None,
            otlp_s=values["otlp_interval"],
            otlp_metrics_only=values["otlp_metrics_only"],
            record_limits=Limits(span_ms(values["record_for"]), values["record_size"] << 20),
            status_dir=Path(values["status_dir"]) if values["status_dir"] is not None else None,
            log=log,
        )
        if of_this_host:
            settings.check_host()
        return settings

    def check_host(self) -> None:
        """Raise UsageError for a process or interface that this host does not have."""
        for pid in self.wanted.pids:
            _check_pid(pid)
        for name in sorted(self.wanted.interfaces):
            _check_interface(name)


def unknown_variables(environ: Mapping[str, str]) -> str | None:
    """Return what to report of variables that have the prefix and are of no option, or None.

    They are no mistake: another program may have the prefix, too.
    """
    known = {option.variable: option.hidden for option in OPTIONS if option.variable}
    unknown = sorted(n for n in environ if n.startswith(ENV) and n not in known)
    if not unknown:
        return None
    offered = [name.removeprefix(ENV) for name, hidden in known.items() if not hidden]
    named = ", ".join(_with_alike(name, offered) for name in unknown[:_MOST_UNKNOWN])
    rest = len(unknown) - _MOST_UNKNOWN
    more = f" and {rest} more" if rest > 0 else ""
    return f"ignored, because no option has it: {named}{more}"


def _with_alike(variable: str, offered: list[str]) -> str:
    import difflib  # noqa: PLC0415 - for a mistake

    alike = difflib.get_close_matches(variable.removeprefix(ENV), offered, n=1, cutoff=_ALIKE)
    return f"{variable} (did you mean {ENV}{alike[0]}?)" if alike else variable


FileValue = int | float | str | bool | list[int] | list[str]


def read_file(path: Path) -> dict[str, FileValue]:
    """Return the settings of a TOML file, by long option name.

    Raises UsageError for a file that is unreadable or not TOML, and for an unknown key or a value
    of the wrong type.
    """
    import tomllib  # noqa: PLC0415 - most runs have no file

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
    return {key: _file_value(path, key, value) for key, value in table.items()}


def _file_value(path: Path, key: str, value: object) -> FileValue:
    """Return one value of the file with its current name, in a list where many are allowed."""
    option = FILE_KEYS.get(key)
    if option is None:
        import difflib  # noqa: PLC0415 - for a mistake

        similar = difflib.get_close_matches(key, FILE_KEYS, n=1)
        shown = (name for name, known in FILE_KEYS.items() if not known.hidden)
        hint = f"did you mean {similar[0]!r}?" if similar else f"known keys: {', '.join(shown)}"
        raise UsageError(f"--config {path}: unknown key {key!r}; {hint}")
    values = value if option.many and isinstance(value, list) else [value]
    if not all(_is(option.kind, one) for one in values):
        raise UsageError(
            f"--config {path}: {key}: expected {_expected(option)}, got {repr(value)[:40]}"
        )
    found: list[Any] = [option.current(v) if isinstance(v, str) else v for v in values]
    return found if option.many else found[0]


_KIND_TEXTS = {bool: "true or false", int: "an integer", float: "a number"}


def _expected(option: Option) -> str:
    """Return what a file may have for an option, in words."""
    one = _KIND_TEXTS.get(option.kind, "a string")
    return f"{one} or a list" if option.many else one


def _interface_names() -> list[str]:
    links = Links(changes=False)
    try:
        return [*(link.name for link in links.read()), *port_names()]
    finally:
        links.close()


def _is(kind: type, value: object) -> bool:
    """Return True where a TOML value is of the kind of an option; an enum is text."""
    # Not isinstance: a bool is an int in Python.  Numbers of TOML are not bounded.
    if isinstance(value, int | float) and abs(value) > sys.maxsize:
        return False
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (str if issubclass(kind, StrEnum) else kind)
