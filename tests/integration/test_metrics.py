"""`--metrics`: what is off is neither loaded nor reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.backends import EBPF
from support.bpftool import names_of
from support.conversation import answered, connected, unanswered
from support.require import require, require_tools

from xctl_probe.metrics import Metric

# Of those that this kernel's attach variant has.
OFF = {
    "bandwidth": {
        "iter_waiters",
        "on_full_buffer",
        "on_reset",
        "on_retransmit",
        "on_retransmit_synack",
    },
    "bandwidth,errors": {"iter_waiters", "on_full_buffer"},
    "stalls": {"on_reset", "on_retransmit_synack"},
}

# What each of the others adds.
ON = {
    Metric.RDMA: set(),
    Metric.PROCESS: set(),
    Metric.PROTOCOLS: {"on_egress", "on_ingress", "on_release"},
    Metric.PACKETS: {"count_receive", "count_transmit"},
}


@pytest.fixture
def holding(start_probe, trials):
    """Start a probe of the kernel source with these options; the programs that it holds."""
    require_tools("bpftool")
    require("ebpf" in trials and not trials["ebpf"].returncode, "the kernel source does not work")

    def start(*options, **more):
        running = start_probe(*EBPF.options, *options, user=EBPF.user, **more)
        running.wait_for_stderr("source")
        return set(names_of(running.pid))

    return start


@pytest.mark.needs_root
@pytest.mark.parametrize("metrics", OFF)
def test_a_program_for_what_is_off_is_not_loaded(holding, metrics):
    """By the list of programs: all others are those of a probe without the option."""
    every, some = holding(), holding("--metrics", metrics)
    assert "drain_sockets" in some
    assert every - some == OFF[metrics] & every
    assert some <= every


@pytest.mark.needs_root
def test_what_is_on_loads_its_programs_beside_those_of_the_others(holding):
    """Each of `ON` by itself, and all together, of which the environment names the list."""
    every = holding()
    for metric, programs in ON.items():
        assert holding("--metrics", f"bandwidth,stalls,errors,{metric}") - every == programs
    together = holding(env={"XCTL_NETWORK_METRICS": ",".join(Metric)})
    assert together == every.union(*ON.values())


@pytest.mark.needs_root
def test_no_program_is_loaded_where_none_is_needed(holding):
    """RDMA ports are read from files."""
    assert holding("--metrics", "rdma") == set()


@pytest.fixture
def hanging(start_probe, backend, worker):
    """Start a probe that measures this alone, and then a client whose reply does not come."""

    def start(metrics):
        running = start_probe(
            *backend.options, "--loopback", "--interval", 0.2, "--metrics", metrics,
            user=backend.user,
        )  # fmt: skip
        running.wait_for_stderr("source")
        server, client, _ = connected(worker)
        answered(server, client)
        unanswered(server, client)
        return running, client

    return start


def types(records, client):
    """Of this client, and of no process: another may be one of a job, with its `process.state`.

    What the probe lost may be of others on this host.
    """
    return {
        record.event_type
        for record in records
        if record.pid in (client.pid, None) and record.entity_id != "xctl-probe"
    }


def test_stalls_alone(hanging):
    running, client = hanging("stalls")
    running.wait_for(lambda consumer: consumer.stalls(pid=client.pid, ongoing=True))
    assert types(running.stop().records, client) == {"transport.drop"}


def test_bandwidth_alone(hanging):
    """The same wait is not reported, long after it is one."""
    running, client = hanging("bandwidth")
    running.wait_for_intervals(8)
    assert types(running.stop().records, client) == {"transport.bw"}


def cpu_ms(pid):
    """CPU time of a process, from fields 14 and 15 of its stat; proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def test_the_cpu_of_a_process_is_what_it_took(probe, worker):
    """And an idle peer has no record: the consumer would take it for a stalled process."""
    running = probe("--metrics", "bandwidth,process")
    server, client, _ = connected(worker)
    answered(server, client)
    running.wait_for_intervals(12)  # of 0.2 s: it has been read once
    begin_ms = cpu_ms(server.pid)
    server.ask("compute", 1_300)
    end_ms = cpu_ms(server.pid)
    running.wait_for(lambda consumer: consumer.loads(server.pid))
    running.wait_for_intervals(12)
    consumer = running.stop()
    found = consumer.loads(server.pid)
    took_ms = sum(record.net["cpu_ms"] for record in found)
    # A tick at each side, and what was below 1 % of an interval.
    assert abs(took_ms - (end_ms - begin_ms)) <= 40
    for record in found:
        percent = record.net["cpu_ms"] * 100 / record.net["interval_ms"]
        assert float(record.value) == pytest.approx(percent, rel=0.01)
    assert consumer.loads(client.pid) == []
    assert consumer.graph.stalled() == set()


def test_loads_are_off_by_default(probe, worker):
    running = probe()
    server, client, _ = connected(worker)
    answered(server, client)
    running.wait_for_intervals(12)
    assert not {r.event_type for r in running.stop().records} & {"compute.util", "compute.mem"}
