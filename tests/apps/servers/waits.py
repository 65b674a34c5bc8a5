"""Servers that answer when they see fit: a long poll, a store of keys, a broker."""

from __future__ import annotations

from place import Place


class Waits:
    """`asks` is a client of the long polls' server that is answered at once."""

    def __init__(self, place: Place) -> None:
        self.port, store, broker = place.port(), place.port(), place.port()
        self.server = place.actor("waits: server", "long_poll.py", self.port)
        self.asks = place.actor("waits: asking", "http_client.py", self.port, "/")
        place.actor("waits: long poll", "http_client.py", self.port, "/wait", 0)
        place.actor("store: server", "store.py", "server", store)
        place.actor("store: client", "store.py", "client", store)
        place.actor("broker: server", "broker.py", "server", broker)
        place.actor("broker: subscriber", "broker.py", "client", broker)

    def workers(self) -> list[int]:
        return [self.server.pid]
