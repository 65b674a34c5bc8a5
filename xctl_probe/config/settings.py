"""Valid settings of the stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xctl_probe.aggregate import Filter
from xctl_probe.config.checks import check_interface, check_pid
from xctl_probe.config.choices import Attach, Backend, Format
from xctl_probe.config.options import OPTIONS, OTLP_S
from xctl_probe.ebpf.packets_hook import PacketsHook
from xctl_probe.errors import UsageError
from xctl_probe.linux.budget import SHARE
from xctl_probe.linux.links import given_name
from xctl_probe.metrics import parse as parse_metrics
from xctl_probe.otlp import url as otlp_url
from xctl_probe.prometheus import address as prometheus_address
from xctl_probe.recordings.limits import Limits, span_ms
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.policy import NS_PER_MS

_NS_PER_S = 1_000_000_000


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
            check_pid(pid)
        for name in sorted(self.wanted.interfaces):
            check_interface(name)
