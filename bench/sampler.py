"""The sampler over many open sockets: CPU, memory and time to the first record.

Prints the median and the range of a few interleaved rounds.
"""

from __future__ import annotations

import resource
import socket
import statistics
import subprocess

from bench.probe import MeasuredProbe

SOCKETS = 3_000
ROUNDS = 3
SECONDS = 6.0
INTERVALS = (1.0, 0.1)


def open_pairs(count: int) -> list[socket.socket]:
    """`count` connected TCP sockets on loopback, each pair after one exchange."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1_000), hard))
    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        for _ in range(count // 2):
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            for sender, receiver in ((client, server), (server, client)):
                sender.sendall(b"13 odd bytes.")
                receiver.recv(64)
            sockets += [client, server]
    return sockets


def show(name: str, values: list[float], unit: str) -> None:
    """One line: the median, and from where to where the rounds ranged."""
    middle = statistics.median(values)
    print(f"{name:<44} {middle:8.2f} {unit:<14} ({min(values):.2f} to {max(values):.2f})")


def main() -> None:
    """Measure with and without the sockets, in turn."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    sockets = open_pairs(SOCKETS)
    shares: dict[float, list[float]] = {interval: [] for interval in INTERVALS}
    resident: list[float] = []
    first: list[float] = []
    for done in range(ROUNDS):
        for interval in INTERVALS:
            options = ("--backend", "proc", "--loopback", "--interval", str(interval))
            with MeasuredProbe.start(*options) as probe:
                first.append((probe.first_record_s() - interval) * 1e3)
                shares[interval].append(probe.cpu_share(SECONDS) * 100)
                resident.append(probe.resident_mib())
        print(f"round {done + 1} of {ROUNDS}", flush=True)
    print(f"{len(sockets)} open sockets, sampler (sock_diag), {ROUNDS} rounds of {SECONDS:.0f} s")
    for interval, values in shares.items():
        show(f"CPU, interval {interval} s", values, "% of a core")
    show("resident memory, at most", resident, "MiB")
    show("first record, beyond the interval", first, "ms")


if __name__ == "__main__":
    main()
