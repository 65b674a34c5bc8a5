"""Kernels and hosts that lack something, simulated: one line at start, and no end of the stream."""

from __future__ import annotations

import os
import resource
import subprocess

import pytest
from support.lacking import BTF, Lacking, before_ring_buffers, hidden
from support.require import require

LIMIT_S = 60
IN_USE = 10  # of the descriptors of a probe, all below are, and its poll(2) asks for no more


@pytest.fixture(autouse=True)
def root():
    require(os.geteuid() == 0, "only root finds out what the kernel lacks: run the tests as root")


@pytest.fixture
def lacking(netns, tmp_path):
    """What a process finds: nothing where its BTF is, or no ring buffer."""
    return {
        "btf": Lacking(netns, hidden(BTF)),
        "ring buffer": Lacking(netns, before_ring_buffers(tmp_path)),
    }


WHY = {
    "btf": "the kernel has no type information (/sys/kernel/btf/vmlinux): it needs "
    "CONFIG_DEBUG_INFO_BTF; --backend bcc works without",
    "ring buffer": "the kernel has no BPF ring buffer: it needs Linux 5.8; "
    "--backend bcc works without",
}


@pytest.mark.parametrize("what", WHY)
def test_what_was_forced_fails_in_one_line_with_the_remedy(installed, lacking, what):
    """Exit code 1, and nothing on stdout: never another source in its place."""
    words = [*lacking[what].command("root"), str(installed.command), "--backend", "ebpf"]
    done = subprocess.run(
        [*words, "--duration", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.stderr == f"xctl-probe-network: --backend ebpf: {WHY[what]}\n"
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("what", WHY)
def test_left_to_itself_it_takes_the_next_best_and_reports_why(lacking, start_probe, worker, what):
    """What that one is depends on this host (bcc, or the sampler): it works, in any case."""
    running = start_probe(
        *("--interval", 0.2, "--loopback", "--format", "ndjson"),
        namespace=lacking[what],
        user="root",
    )
    running.wait_for_stderr(f"; not ebpf: {WHY[what]}", LIMIT_S)
    running.wait_ready()
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    client.begin("ask", 23, 29)
    stalls = running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True), LIMIT_S)
    assert {stall.net["cause"] for stall in stalls} == {"no_reply"}
    running.stop()
    output = running.stderr.decode()
    assert len(output.splitlines()) == 1
    assert "source ebpf" not in output


def test_descriptors_that_run_out_are_no_end(start_probe, worker):
    """Each run of an iterator is a file: what is missed is counted."""
    running = start_probe(
        *("--backend", "ebpf", "--interval", 0.2, "--loopback", "--min-bw", 0), user="root"
    )
    running.wait_ready()
    running.wait_for_intervals(2)
    soft, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (IN_USE, hard))
    running.wait_for(lambda c: c.lost())
    before = running.consumer.lost()
    running.wait_for(lambda c: c.lost() > before)
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (soft, hard))
    server, client = worker(), worker()
    client.connect("127.0.0.1", server.ask("listen")["port"])
    server.ask("accept")
    client.begin("ask", 23, 29)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    running.stop()
