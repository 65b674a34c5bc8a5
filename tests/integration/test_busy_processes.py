"""A process that computes while its reply is outstanding does not wait for the network."""

from __future__ import annotations

import os
import signal

import pytest
from support.conversation import ANSWER, QUESTION, answered, connected

RIVALS = 3  # on the same CPU


def test_a_process_that_gets_a_part_of_a_cpu_computes_all_the_same(probe, worker, backend):
    """As ranks between two steps, on a host with fewer cores than ranks."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    running = probe("--reply-ms", 1_000)  # the process is read before that
    cpu = {min(os.sched_getaffinity(0))}
    for rival in [worker("links", comm=b"rival") for _ in range(RIVALS)]:
        os.sched_setaffinity(rival.pid, cpu)
        rival.begin("compute")
    clients = {}
    for name in ("idle", "computes"):
        server, clients[name], _ = connected(worker, client_role="evented", comm=name.encode())
        answered(server, clients[name])
        os.kill(server.pid, signal.SIGSTOP)
    idle, computes = clients["idle"], clients["computes"]
    os.sched_setaffinity(computes.pid, cpu)
    computes.ask("compute_aside", 600_000)
    for client in (computes, idle):
        client.begin("ask", QUESTION, ANSWER)
    running.wait_for(lambda consumer: len(consumer.stalls(pid=idle.pid)) >= 5)
    assert running.stop().stalls(pid=computes.pid) == []
