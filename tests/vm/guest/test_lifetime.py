"""What was there before the probe, and what is left when it is gone."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from vm.expect import VARIANTS
from vm.guest import variants
from vm.guest.features import NO, YES, program_ids, supports

LIMIT_S = 180
MOST_VERIFIED = 200_000
MORE_THAN_BUFFERS = 20_000_003


def pair(worker):
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    inode = client.connect("127.0.0.1", port)["inode"]
    server.ask("accept")
    return server, client, inode


def test_sockets_from_before_have_their_owners(probe, worker, backend):
    """What moved before does not count; what moves now is theirs; a hang from before shows.

    The call that hangs was entered before anything was attached.
    """
    server, client, _ = pair(worker)
    client.ask("send", 100_003)
    server.ask("recv", 100_003)
    silent, hanging, inode = pair(worker)
    hanging.begin("send", MORE_THAN_BUFFERS)

    running = probe()
    server.begin("recv", 23 * 7)
    client.ask("drip", 7, 1, 23)
    server.expect("recv")
    running.wait_for(lambda c: c.received_bytes(server.pid) >= 23 * 7, LIMIT_S)
    running.wait_for(lambda c: len(c.stalls(pid=hanging.pid, ongoing=True)) >= 2, LIMIT_S)
    silent.begin("recv", MORE_THAN_BUFFERS)
    hanging.expect("send")
    running.wait_for(lambda c: c.stalls(pid=hanging.pid, ongoing=False), LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.stop()
    assert consumer.sent_bytes(client.pid) == 23 * 7
    assert consumer.received_bytes(server.pid) == 23 * 7
    assert {r.entity_id for r in consumer.stalls(pid=hanging.pid)} == {f"socket-{inode}"}


def test_retransmits_of_a_socket_from_before_have_its_owner(probe, worker, lose):
    """It makes no call any more: only what was there at the start shows whose it is."""
    _, client, inode = pair(worker)
    lose(100)
    client.ask("send", 7)
    running = probe()
    # Where a start takes a minute, the next one is as far away by then.
    running.wait_for(lambda c: c.count("RETRANSMIT", inode=inode), 2 * LIMIT_S)
    assert {r.pid for r in running.stop().errors(f"socket-{inode}")} == {client.pid}


def test_a_killed_probe_leaves_nothing_attached(probe, worker):
    """kill -9: no program, and the next probe works as the first did."""
    before = program_ids()
    running = probe()
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(LIMIT_S)
    deadline = time.monotonic() + LIMIT_S
    while program_ids() - before and time.monotonic() < deadline:
        time.sleep(0.1)  # the kernel frees programs after a grace period
    assert program_ids() <= before
    again = probe()
    server, client, _ = pair(worker)
    client.ask("send", 23)
    server.ask("recv", 23)
    again.wait_for(lambda c: c.sent_bytes(client.pid) == 23, LIMIT_S)
    again.stop()


def test_the_verifier_follows_few_instructions(running, variant):
    """proc(5): verified_insns, since 5.16.  Kernels refuse a million; each takes start-up time."""
    if variant == "proc":
        pytest.skip("not a kernel source")
    found = []
    for path in Path(f"/proc/{running.pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found += re.findall(r"^verified_insns:\s+(\d+)$", path.read_text(), re.M)
    if not found:
        pytest.skip("this kernel does not count them")
    assert max(map(int, found)) < MOST_VERIFIED


def test_root_gets_the_best_variant_that_the_kernel_carries(start_probe, features):
    best = next(name for name in VARIANTS if supports(name, features) == YES)
    running = start_probe("--interval", 0.5, "--loopback", "--format", "ndjson", user="root")
    running.wait_for_intervals(1, variants.variant(best).start_s)
    running.stop()
    output = running.stderr.decode()
    assert "source ebpf" in output
    assert best in output


def test_a_variant_that_the_kernel_lacks_is_refused_in_one_line(features, variant, installed):
    if supports(variant, features) != NO:
        pytest.skip("this kernel carries it")
    command = [installed.command, *variants.variant(variant).options, "--duration", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
