"""dnsmasq as a resolver that asks a name server of ours, and who asks it."""

from __future__ import annotations

from place import Place
from support.require import require_tools


class Dns:
    """`asks` resolves a name on demand, another client does so regularly."""

    def __init__(self, place: Place) -> None:
        require_tools("dnsmasq")
        upstream, self.port = place.port(), place.port()
        place.actor("dns: upstream", "dns.py", "upstream", upstream)
        options = (
            "--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--cache-size=0",
            "--pid-file=", "--user=", "--listen-address=127.0.0.1", "--bind-interfaces",
        )  # fmt: skip
        where = (f"--port={self.port}", f"--server=127.0.0.1#{upstream}")
        self.server = place.start("dns: server", "dnsmasq", *options, *where)
        self.server.expect("started")
        self.asks = place.actor("dns: asking", "dns.py", "client", self.port)
        self.asks.ask("ask", "127.0.0.7")
        place.actor("dns: regular", "dns.py", "client", self.port, 0.31)

    def workers(self) -> list[int]:
        return [self.server.pid]
