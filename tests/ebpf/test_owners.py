"""Whose socket it is, where no call of its owner shows it: softirq, seeding, namespaces."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from support.peer import in_namespace
from support.require import require, require_tools

from xctl_probe.events import ErrorKind
from xctl_probe.sources.blind_spots import BLIND_SPOTS


def test_open_sockets_have_their_owner_before_they_do_anything(watch, peer):
    """A connection that was idle when the probe came, and is reset: softirq knows whose it is."""
    victim = peer("owners.accepts_one")
    other = peer("owners.resets", victim.first)
    victim.go()
    seen = watch()
    other.go()
    seen.until(lambda: seen.errors(victim.pid, ErrorKind.RESET) == 1)
    assert seen.errors(other.pid, ErrorKind.RESET) == 0


def test_retransmits_are_exact_and_the_senders(watch, peer, netns):
    """A lossy line: as many segments as the socket itself counts, none to who was interrupted.

    It counts attempts, some of which fail on a busy host.
    """
    require_tools("nft")
    seen = watch()
    one = peer("owners.lossy_line", 3_000_017, prefix=tuple(netns.command("root")))
    retransmitted = one.go() - netns.kernel_counter("netstat", "TCPRetransFail")
    assert retransmitted > 0
    seen.until(lambda: seen.errors(one.pid, ErrorKind.RETRANSMIT) >= retransmitted)
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.RETRANSMIT) == retransmitted
    assert seen.sent(one.pid) == seen.received(one.pid) == 3_000_017


def test_syn_acks_that_are_sent_again_are_the_listeners(watch, peer):
    """The client never hears them; so its SYN is sent again, too."""
    require_tools("nft")
    seen = watch()
    client = peer("owners.unheard_listener", prefix=in_namespace())
    listener = client.first
    client.go()
    seen.until(lambda: seen.errors(listener, ErrorKind.RETRANSMIT) >= 1)
    seen.until(lambda: seen.errors(client.pid, ErrorKind.RETRANSMIT) >= 1)


def test_a_process_in_a_namespace_below_has_the_number_that_we_see(watch, peer):
    seen = watch()
    one = peer("owners.first_of_a_pid_namespace", prefix=("unshare", "--pid"))
    assert isinstance(one.first, int)
    seen.until(lambda: (seen.sent(one.first), seen.received(one.first)) == (71, 71))


def test_the_identity_is_pid_and_start_and_the_name_is_of_the_program_that_runs(watch, peer):
    seen = watch()
    one = peer("owners.becomes_a_shell")
    seen.until(lambda: seen.sent(one.pid) == 7)
    one.start()
    seen.until(lambda: seen.sent(one.pid) == 18)
    with open(f"/proc/{one.pid}/stat") as file:
        start_ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    names = {event.owner.comm for event in seen.of(one.pid)}
    starts = {event.owner.start_ticks for event in seen.of(one.pid)}
    assert starts == {start_ticks}
    assert "sh" in names


def test_a_number_that_is_used_again_is_another_process(watch, peer):
    """Its predecessor has just ended, and was reported in the same interval."""
    require(Path("/proc/sys/kernel/ns_last_pid").exists(), "this kernel gives no say in numbers")
    seen = watch()
    one = peer("owners.one_pid_twice")
    first, second = one.go()
    assert first == second, "the number was never free"
    seen.until(lambda: seen.sent(first) == 71 + 73)
    by_start = {}
    for event in seen.of(first):
        start = event.owner.start_ticks
        by_start[start] = by_start.get(start, 0) + event.sent_bytes
    assert [by_start[start] for start in sorted(by_start)] == [71, 73]


def test_our_own_name_is_no_exception(watch):
    """The probe's own sockets are sockets like others."""
    seen = watch()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"x" * 73, one.getsockname())
        one.recv(100)
    seen.until(lambda: seen.received(os.getpid()) == 73)


def test_a_socket_that_no_descriptor_holds(watch, peer):
    """On its way through a unix socket: counted, or a declared blind spot until it is held."""
    seen = watch()
    attach = seen.source.attach
    spots = BLIND_SPOTS["bcc" if attach == "bcc" else f"ebpf {attach}"]
    blind_spot = "unheld_socket"
    visible = blind_spot not in {spot.key for spot in spots}
    one = peer("owners.unheld_socket")
    one.go()
    seen.until(lambda: seen.received(one.pid) == 1_009)
    seen.drain()
    assert seen.sent(one.pid) == (1_009 if visible else 0)
    one.go()
    seen.until(lambda: seen.sent(one.pid) == 1_009)
