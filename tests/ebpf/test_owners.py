"""Whose socket it is, where no call of its owner tells: softirq, seeding, namespaces."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from support.require import require, require_tools

from xctl_probe.events import ErrorKind
from xctl_probe.sources.blind_spots import BLIND_SPOTS

NET = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"')

RESETTING = "struct.pack('ii', 1, 0)"


def test_open_sockets_have_their_owner_before_they_do_anything(watch, actor):
    """A connection that was idle when the probe came, and is reset: softirq knows whose it is."""
    victim = actor(
        """
listener = socket.create_server(("127.0.0.1", 0))
say(listener.getsockname()[1])
server, _ = listener.accept()
step(); step()
"""
    )
    other = actor(
        f"""
client = socket.create_connection(("127.0.0.1", {victim.said}))
step()
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, {RESETTING})
client.close()
step()
"""
    )
    victim.go()
    seen = watch()
    other.go()
    seen.until(lambda: seen.errors(victim.pid, ErrorKind.RESET) == 1)
    assert seen.errors(other.pid, ErrorKind.RESET) == 0


def test_retransmits_are_exact_and_the_senders(watch, actor):
    """A lossy line: as many segments as the socket itself says, none to who was interrupted."""
    require_tools("nft")
    seen = watch()
    one = actor(
        """
import subprocess
listener = socket.create_server(("127.0.0.1", 7777))
client = socket.create_connection(("127.0.0.1", 7777)); server, _ = listener.accept()
# Only now: a lost handshake would have the listener send its SYN-ACK again, under the same pid.
subprocess.run(["nft", "add table inet t; add chain inet t i "
    "{ type filter hook input priority 0; }; "
    "add rule inet t i tcp dport 7777 numgen random mod 10 < 1 drop"], check=True)
reader = threading.Thread(target=exactly, args=(server, 3_000_017)); reader.start()
step()
client.sendall(b"x" * 3_000_017)
reader.join()
UNACKED, TOTAL_RETRANS = 24, 100  # offsets in struct tcp_info
while True:  # what is not acknowledged yet may still be sent again
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    if not struct.unpack_from("I", info, UNACKED)[0]:
        break
    select.select([], [], [], 0.01)
say(struct.unpack_from("I", info, TOTAL_RETRANS)[0])
""",
        prefix=NET,
    )
    retransmitted = one.go()
    assert retransmitted > 0
    seen.until(lambda: seen.errors(one.pid, ErrorKind.RETRANSMIT) >= retransmitted)
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.RETRANSMIT) == retransmitted
    assert seen.sent(one.pid) == seen.received(one.pid) == 3_000_017


def test_syn_acks_that_are_sent_again_are_the_listeners(watch, actor):
    """The client never hears them; so its SYN is sent again, too."""
    require_tools("nft")
    seen = watch()
    client = actor(
        """
import subprocess
subprocess.run(["nft", "add table inet t; add chain inet t i "
    "{ type filter hook input priority 0; }; "
    "add rule inet t i tcp sport 7777 tcp flags & syn == syn drop"], check=True)
listener = socket.socket(); listener.bind(("127.0.0.1", 7777))
ready_in, ready_out = os.pipe()
child = os.fork()
if not child:
    listener.listen(); os.write(ready_out, b"."); time.sleep(60); os._exit(0)
listener.close(); os.read(ready_in, 1)
say(child)
client = socket.socket(); client.setblocking(False)
client.connect_ex(("127.0.0.1", 7777))
step()
""",
        prefix=NET,
    )
    listener = client.said
    client.go()
    seen.until(lambda: seen.errors(listener, ErrorKind.RETRANSMIT) >= 1)
    seen.until(lambda: seen.errors(client.pid, ErrorKind.RETRANSMIT) >= 1)


def test_a_process_in_a_namespace_below_has_the_number_that_we_see(watch, actor):
    seen = watch()
    one = actor(
        """
child = os.fork()
if not child:
    assert os.getpid() == 1
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0))
    time.sleep(0.1)
    a.sendto(b"x" * 71, a.getsockname()); a.recv(100); time.sleep(60); os._exit(0)
say(child)
""",
        prefix=("unshare", "--pid"),
    )
    assert isinstance(one.said, int)
    seen.until(lambda: (seen.sent(one.said), seen.received(one.said)) == (71, 71))


def test_the_identity_is_pid_and_start_and_the_name_is_of_the_program_that_runs(watch, actor):
    seen = watch()
    one = actor(
        """
pair = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(pair.getsockname()); server, _ = pair.accept()
client.sendall(b"x" * 7)
step()
client.set_inheritable(True); server.set_inheritable(True)
os.execv("/bin/sh", ["sh", "-c", f"printf 0123456789a >&{client.fileno()}; sleep 60"])
"""
    )
    seen.until(lambda: seen.sent(one.pid) == 7)
    one.start()
    seen.until(lambda: seen.sent(one.pid) == 18)
    with open(f"/proc/{one.pid}/stat") as file:
        start_ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    names = {event.owner.comm for event in seen.of(one.pid)}
    starts = {event.owner.start_ticks for event in seen.of(one.pid)}
    assert starts == {start_ticks}
    assert "sh" in names


def test_a_number_that_is_used_again_is_another_process(watch, actor):
    """Its predecessor has just ended, and was told of in the same interval."""
    require(Path("/proc/sys/kernel/ns_last_pid").exists(), "this kernel gives no say in numbers")
    seen = watch()
    one = actor(
        """
last = "/proc/sys/kernel/ns_last_pid"
def send(count):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("127.0.0.1", 0))
    sock.connect(sock.getsockname()); sock.send(b"x" * count); os._exit(0)
step()
first = os.fork() or send(71)
os.waitpid(first, 0)
time.sleep(0.03)  # a process is told from another by the tick that it began in
second = 0
for _ in range(1000):  # others start processes, too: whoever is there first has the number
    with open(last, "w") as file: file.write(str(first - 1))
    second = os.fork()
    if not second:
        if os.getpid() == first: send(73)
        os._exit(0)
    os.waitpid(second, 0)
    if second == first: break
say((first, second))
"""
    )
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


def test_a_socket_that_no_descriptor_holds(watch, actor):
    """On its way through a unix socket: counted while it is, or a declared gap until it is held."""
    seen = watch()
    attach = seen.source.attach
    spots = BLIND_SPOTS["bcc" if attach == "bcc" else f"ebpf {attach}"]
    gap = "unheld_socket"
    visible = gap not in {spot.key for spot in spots}
    one = actor(
        """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
ours, theirs = socket.socketpair()
step()
client.sendall(b"x" * 1_009)
socket.send_fds(ours, [b"."], [client.fileno()]); client.close()
exactly(server, 1_009)
step()
_, held, _, _ = socket.recv_fds(theirs, 1, 1)
step()
"""
    )
    one.go()
    seen.until(lambda: seen.received(one.pid) == 1_009)
    seen.drain()
    assert seen.sent(one.pid) == (1_009 if visible else 0)
    one.go()
    seen.until(lambda: seen.sent(one.pid) == 1_009)
