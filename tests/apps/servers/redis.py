"""redis; clients that are idle, pipeline, subscribe, and wait for a job as workers do."""

from __future__ import annotations

from place import Place
from support.require import require_tools


class Redis:
    """`asks` is a redis-cli that asks on demand; `sets` one that can send much; `blocked` waits
    for a job that never comes.
    """

    def __init__(self, place: Place) -> None:
        require_tools("redis-server", "redis-cli")
        folder, self.port = place.own("redis"), place.port()
        options = ("--bind", "127.0.0.1", "--save", "", "--dir", folder, "--appendonly", "no")
        self.server = place.start("redis: server", "redis-server", "--port", self.port, *options)
        place.wait_listening(self.port)
        command = ("redis-cli", "-p", self.port)
        self.asks = place.start("redis: idle", *command)
        self.asks.ask("PING", "PONG")
        subscriber = place.start("redis: subscriber", *command)
        subscriber.ask("SUBSCRIBE news", "news")
        self.blocked = place.start("redis: BLPOP", *command)
        self.blocked.ask("PING", "PONG")
        place.actor("redis: pipelining", "redis_client.py", self.port, "pipeline")
        place.actor("redis: worker", "redis_client.py", self.port, "worker")
        place.actor("redis: producer", "redis_client.py", self.port, "push")
        self.sets = place.actor("redis: SET", "redis_client.py", self.port, "set")
        self.sets.ask("7", "OK")
        # Later than its first answer by more than a tick, in which no order shows.
        self.blocked.send("BLPOP never 0")

    def workers(self) -> list[int]:
        return [self.server.pid]
