"""The table of options."""

from __future__ import annotations

from pathlib import Path

from xctl_probe.config.checks import (
    check_duration,
    check_host,
    check_interval,
    check_metrics,
    check_min_bw,
    check_otlp,
    check_otlp_interval,
    check_peer,
    check_proc_budget,
    check_prometheus,
    check_prometheus_file,
    check_prometheus_pids,
    check_record,
    check_record_for,
    check_record_size,
    check_reply_ms,
    check_stall_ms,
    check_status_dir,
)
from xctl_probe.config.choices import Attach, Backend, Format
from xctl_probe.config.option import Option, Place
from xctl_probe.ebpf.packets_hook import PacketsHook
from xctl_probe.linux.budget import SHARE
from xctl_probe.metrics import COSTS, DEFAULT, text_of
from xctl_probe.recordings.limits import SIZE_MIB, SPAN
from xctl_probe.stalls.policy import REPLY_MS, STALL_MS

OTLP_S = 10.0

# The only table of options.  The command line (cli), the variables, the keys of the file, the man
# page, the completions and docs/options.md are generated from it.
OPTIONS = (
    Option(
        name="interval",
        kind=float,
        default=1.0,
        check=check_interval,
        help="Seconds between two reports.",
    ),
    Option(
        name="duration",
        kind=float,
        check=check_duration,
        help="Seconds to run. Without it: until a signal.",
    ),
    Option(
        name="metrics",
        kind=str,
        default=text_of(DEFAULT),
        check=check_metrics,
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
        check=check_reply_ms,
        help="Least length of a stall where the peer has the request and has not replied.",
    ),
    Option(
        name="min-bw",
        kind=float,
        default=1.0,
        check=check_min_bw,
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
        check=check_peer,
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
        check=check_peer,
        hidden=True,
        help="Former name of --ignore-reply-wait.",
    ),
    Option(
        name="proc-budget",
        kind=float,
        default=SHARE * 100,
        check=check_proc_budget,
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
        check=check_host,
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
        check=check_record,
        metavar="DIR",
        help="Keep the records of the last minutes in this directory. "
        "why --since and blame --since read it.",
    ),
    Option(
        name="record-for",
        kind=str,
        default=SPAN,
        check=check_record_for,
        metavar="TIME",
        help="How long records are kept: 90s, 60m, 2h, 1d.",
    ),
    Option(
        name="record-size",
        kind=int,
        default=SIZE_MIB,
        check=check_record_size,
        metavar="MIB",
        help="Most MiB that the recording takes. The oldest records are removed first.",
    ),
    Option(
        name="prometheus",
        kind=str,
        check=check_prometheus,
        metavar="[ADDRESS:]PORT",
        help="Serve metrics for Prometheus at /metrics, and /healthz; "
        "on loopback unless an address is given.",
    ),
    Option(
        name="prometheus-file",
        kind=str,
        check=check_prometheus_file,
        metavar="PATH",
        help="Write the metrics to this file, for the textfile collector of node_exporter. "
        "Its name has .prom at the end.",
    ),
    Option(
        name="prometheus-pids",
        kind=int,
        default=0,
        check=check_prometheus_pids,
        metavar="N",
        help="Give so many processes series of their own, with the label pid: those that moved "
        "the most bytes, and those that waited the longest.",
    ),
    Option(
        name="otlp",
        kind=str,
        check=check_otlp,
        metavar="URL",
        help="Send metrics, stalls and errors to a receiver of OTLP/HTTP (OpenTelemetry), "
        "such as http://127.0.0.1:4318.",
    ),
    Option(
        name="otlp-interval",
        kind=float,
        default=OTLP_S,
        check=check_otlp_interval,
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
        check=check_status_dir,
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
