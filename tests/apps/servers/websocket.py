"""Websockets by the library of that name, with pings: by the client, the server, or both.

Who asks is not pinged: a pong is a send that has no answer, and who pongs more often than
it asks appears to expect none.  Nor does it ping: that may fall into the middle of a wait,
which tests/integration/test_pings.py is about.
"""

from __future__ import annotations

from place import Place
from support.program import Program

OFTEN_S = 0.7


class Websocket:
    """`asks` sends as many bytes as a line names, and prints how many came."""

    def __init__(self, place: Place) -> None:
        self.port, often = place.port(), place.port()
        self.server = self._actor(place, "websocket: server", "server", self.port, 0)
        self.asks = self._actor(place, "websocket: asking", "client", self.port, 0)
        self.asks.ask("7", "echoed 7")
        self._actor(place, "pings: server", "server", often, OFTEN_S)
        for pings_s in (0, OFTEN_S):  # pinged only, and pinging as well
            self._actor(place, f"pings: client {pings_s}", "client", often, pings_s)
        quiet = place.port()
        self._actor(place, "pinged: server", "server", quiet, 0)
        self._actor(place, "pinged: client", "client", quiet, OFTEN_S)

    @staticmethod
    def _actor(place: Place, name: str, role: str, port: int, pings_s: float) -> Program:
        program = place.actor(name, "websocket.py", role, port, pings_s)
        if role == "server":
            place.wait_listening(port)
        return program

    def workers(self) -> list[int]:
        return [self.server.pid]
