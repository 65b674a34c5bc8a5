"""The protocol of a socket: of a new connection, as root, and of one from before."""

from __future__ import annotations

from support.conversation import connect
from support.waiting import wait_until_in_call

from xctl_probe.linux.syscalls import Role

MORE_THAN_BUFFERS = 20_000_003
MEASURED = "bandwidth,stalls,errors,protocols"


def upload(worker):
    """A client whose server does not read what it sends."""
    server, client = worker("blocking"), worker("blocking")
    connect(server, client)
    client.begin("post", MORE_THAN_BUFFERS)
    return client


def is_named(running, client, shown):
    """Whether a stall of the client has the protocol: where it has to, however late.

    The first bytes of a burst of connections, of other programs, are read before it for seconds.
    """
    lost = running.consumer.losses().get("protocols")

    def named(consumer):
        return any(r.net.get("app") == "http1" for r in consumer.stalls(pid=client.pid))

    def over(consumer):
        may_miss = not shown or consumer.losses().get("protocols") != lost
        return named(consumer) or (may_miss and len(consumer.stalls(pid=client.pid)) >= 11)

    running.wait_for(over)
    return named(running.consumer)


def any_is_named(running, worker, shown):
    """Whether that of an upload has it whose bytes found room beside those of other programs."""
    for _ in range(5):
        lost = running.consumer.losses().get("protocols")
        if is_named(running, upload(worker), shown):
            return True
        if running.consumer.losses().get("protocols") == lost:
            return False
    return False


def test_the_protocol_of_a_socket(backend, probe, worker, agrees):
    running = probe("--metrics", MEASURED)
    agrees("payload", any_is_named(running, worker, backend.sees("payload")))


def test_the_protocol_of_a_socket_as_root(backend, start_probe, worker, agrees):
    """Programs of the kernel name a socket by its cookie, which /proc/net does not have."""
    words = (*backend.options, "--loopback", "--interval", 0.2, "--metrics", MEASURED)
    running = start_probe(*words, user="root")
    running.wait_ready()
    agrees("no_cookie", any_is_named(running, worker, backend.sees("no_cookie")))


def test_the_protocol_of_a_connection_from_before(backend, probe, worker, agrees):
    """It sends no more."""
    client = upload(worker)
    wait_until_in_call(client.pid, Role.SEND)
    running = probe("--metrics", MEASURED)
    agrees("hidden_protocol", is_named(running, client, backend.sees("hidden_protocol")))
