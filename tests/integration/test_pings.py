"""A client that sends more while its request is outstanding: pings, retries, a second request."""

from __future__ import annotations

import time

from integration.test_calls import (
    ANSWER,
    QUESTION,
    answered,
    assert_one_wait,
    connected,
    wait_until_over,
    wait_until_reported,
)

PING, EVERY_MS = 7, 250


def test_pings_into_a_cut_line_prove_nothing_about_who_answers(probe, worker, netns, backend):
    """What has not arrived cannot be answered: the one wait goes on, from the request."""
    running = probe("--min-bw", 0)
    server, client, identity = connected(worker)
    answered(server, client)
    running.wait_for_intervals(2)
    netns.drop_incoming(f"tcp dport {identity['remote'].rpartition(':')[2]}")
    client.ask("ask_aside", QUESTION, ANSWER)
    client.ask("drip", PING, EVERY_MS, 5)
    wait_until_reported(running, client)
    released_ns = time.monotonic_ns()
    netns.lose_nothing()
    server.ask("recv", QUESTION + 5 * PING)
    server.ask("send", ANSWER)
    truth = client.expect("answered") | {"released_ns": released_ns}
    consumer = wait_until_over(running, client)
    assert_one_wait(consumer, client, identity, truth, backend, {"loss", None})


def test_pings_while_the_peer_hangs_do_not_begin_the_wait_anew(probe, worker, backend):
    """In a conversation that was always answered, two sends more leave the evidence as it is."""
    running = probe("--min-bw", 0)
    server, client, identity = connected(worker)
    for _ in range(17):
        answered(server, client)
        running.wait_for_intervals(1)  # so that a sampler sees each of them
    client.ask("ask_aside", QUESTION, ANSWER)
    client.ask("drip", PING, EVERY_MS, 2)
    wait_until_reported(running, client)
    released_ns = time.monotonic_ns()
    server.ask("recv", QUESTION + 2 * PING)
    server.ask("send", ANSWER)
    truth = client.expect("answered") | {"released_ns": released_ns}
    assert_one_wait(wait_until_over(running, client), client, identity, truth, backend)
