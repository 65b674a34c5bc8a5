"""Checks of the values of options: each raises UsageError with the option and the remedy."""

from __future__ import annotations

import math
from pathlib import Path

from xctl_probe.errors import UsageError
from xctl_probe.exporters.origin import is_host_name
from xctl_probe.linux.links import Links
from xctl_probe.linux.rdma_ports import port_names
from xctl_probe.metrics import Metric, text_of
from xctl_probe.metrics import parse as parse_metrics
from xctl_probe.otlp import url as otlp_url
from xctl_probe.prometheus import address as prometheus_address
from xctl_probe.recordings.limits import MOST_MIB, span_ms
from xctl_probe.stalls.ignored_peers import IgnoredPeers

_SHORTEST_S, _LONGEST_S = 0.01, 3600.0
_LONGEST_RUN_S = 1e9  # thirty years
_LONGEST_STALL_MS = 3_600_000  # an hour
_LEAST_PROC_BUDGET, _MOST_PROC_BUDGET = 0.1, 100.0  # percent of a core
_MOST_PROMETHEUS_PIDS = 1_000
_PROMETHEUS_SUFFIX = ".prom"  # node_exporter reads no other file
_MOST_OTLP_S = 3600.0
_WITH_PROTOCOLS = frozenset((Metric.STALLS, Metric.ERRORS))  # whose records have the protocol
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h


def check_stall_ms(stall_ms: int, name: str = "stall-ms") -> None:
    """Raise UsageError where this is not a valid stall length."""
    if not 1 <= stall_ms <= _LONGEST_STALL_MS:
        raise UsageError(f"--{name} {stall_ms}: give milliseconds from 1 to {_LONGEST_STALL_MS}")


def check_reply_ms(reply_ms: int) -> None:
    """Check a value of `--reply-ms`."""
    check_stall_ms(reply_ms, "reply-ms")


def check_interval(seconds: float) -> None:
    """Check a value of `--interval`."""
    if not (_SHORTEST_S <= seconds <= _LONGEST_S):  # false for NaN, too
        raise UsageError(
            f"--interval {seconds}: not a valid length: "
            f"give seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}"
        )


def check_duration(seconds: float) -> None:
    """Check a value of `--duration`."""
    if not 0 < seconds <= _LONGEST_RUN_S:
        raise UsageError(f"--duration {seconds}: give seconds above 0, or leave it out")


def check_min_bw(mbps: float) -> None:
    """Check a value of `--min-bw`."""
    if not 0 <= mbps < math.inf:
        raise UsageError(f"--min-bw {mbps}: give Mbps from 0 up")


def check_metrics(text: str) -> None:
    """Check a value of `--metrics`."""
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


def check_proc_budget(percent: float) -> None:
    """Check a value of `--proc-budget`."""
    if not _LEAST_PROC_BUDGET <= percent <= _MOST_PROC_BUDGET:
        raise UsageError(
            f"--proc-budget {percent}: give percent of a core "
            f"from {_LEAST_PROC_BUDGET} to {_MOST_PROC_BUDGET:.0f}"
        )


def check_pid(pid: int) -> None:
    """Check a value of `--pid`."""
    import psutil  # noqa: PLC0415 - 1 MiB, which most runs do without

    if not 1 <= pid <= _LARGEST_PID or not psutil.pid_exists(pid):
        raise UsageError(f"--pid {pid}: no such process; `ps -e` lists all")


def check_interface(name: str) -> None:
    """Check a value of `--interface`."""
    known = _interface_names()
    if name not in known:
        raise UsageError(f"--interface {name}: no such interface; known: {', '.join(known)}")


def check_peer(peer: str) -> None:
    """Check a value of `--ignore-reply-wait`."""
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


def check_host(name: str) -> None:
    """Check a value of `--host`."""
    if not is_host_name(name):
        raise UsageError(
            f"--host {name!r}: give 1 to 64 characters of printable ASCII without spaces"
        )


def check_record(path: str) -> None:
    """Check a value of `--record`."""
    if not path or "\0" in path:
        raise UsageError(f"--record {path!r}: give the path of a directory")


def check_status_dir(path: str) -> None:
    """Check a value of `--status-dir`."""
    if not path or "\0" in path:
        raise UsageError(f"--status-dir {path!r}: give the path of a directory")


def check_record_for(text: str) -> None:
    """Check a value of `--record-for`."""
    check_span(text, "record-for")


def check_record_size(mib: int) -> None:
    """Check a value of `--record-size`."""
    if not 1 <= mib <= MOST_MIB:
        raise UsageError(f"--record-size {mib}: give MiB from 1 to {MOST_MIB}")


def check_prometheus(text: str) -> None:
    """Check a value of `--prometheus`."""
    try:
        prometheus_address.parse(text)
    except ValueError:
        raise UsageError(
            f"--prometheus {text}: not an address to listen at; "
            "give one as 9599, 10.0.0.7:9599 or [fd00::7]:9599"
        ) from None


def check_prometheus_file(path: str) -> None:
    """Check a value of `--prometheus-file`."""
    name = Path(path).name
    if "\0" in path or not name.endswith(_PROMETHEUS_SUFFIX) or name == _PROMETHEUS_SUFFIX:
        raise UsageError(
            f"--prometheus-file {path!r}: node_exporter does not read it; "
            f"give the path of a file as xctl{_PROMETHEUS_SUFFIX}"
        )


def check_prometheus_pids(count: int) -> None:
    """Check a value of `--prometheus-pids`."""
    if not 0 <= count <= _MOST_PROMETHEUS_PIDS:
        raise UsageError(
            f"--prometheus-pids {count}: give a number of processes from 0 to "
            f"{_MOST_PROMETHEUS_PIDS}"
        )


def check_otlp(text: str) -> None:
    """Check a value of `--otlp`."""
    try:
        otlp_url.parse(text)
    except ValueError:
        raise UsageError(
            f"--otlp {text}: not the address of a receiver of OTLP/HTTP; "
            "give one as http://127.0.0.1:4318"
        ) from None


def check_otlp_interval(seconds: float) -> None:
    """Check a value of `--otlp-interval`."""
    if not 1 <= seconds <= _MOST_OTLP_S:
        raise UsageError(f"--otlp-interval {seconds}: give seconds from 1 to {_MOST_OTLP_S:.0f}")


def _interface_names() -> list[str]:
    links = Links(changes=False)
    try:
        return [*(link.name for link in links.read()), *port_names()]
    finally:
        links.close()
