"""Drive tests/workloads/crowd.py, and keep what its processes report."""

from __future__ import annotations

import json
import queue
import random
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from support.namespace import Namespace, end, spawn

PYTHON = "/usr/bin/python3"
READY_S = 120.0
# The load is not what is measured: it yields to the probe and to everybody else.
_NICE = ("nice", "-n", "10")


class Crowd:
    """Processes that talk to each other in a namespace; `moved` is the truth once stopped."""

    def __init__(self, traffic: Any, namespace: Namespace, plan: Mapping[str, Any]) -> None:
        namespace.run(
            "sh", "-c", "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"
        )  # 20,000 short connections a minute leave as many ports in TIME_WAIT
        self.prefix = f"{random.randrange(1 << 20):05x}-"  # other crowds may be on this host
        words = json.dumps({"prefix": self.prefix, **plan})
        command = [*namespace.command(), *_NICE, PYTHON, str(traffic / "crowd.py"), words]
        self._process = spawn(command, stderr=None)
        self._events: queue.Queue[str] = queue.Queue()
        self.moved: dict[int, list[dict[str, Any]]] = defaultdict(list)  # by pid: pids return
        self.waits: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by pid, monotonic ns
        self.failures: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._expect("ready", READY_S)

    def go(self) -> None:
        self._send("go")

    def wait_churned(self, churners: int, timeout: float) -> None:
        """Wait until each of them has made all its connections."""
        for _ in range(churners):
            self._expect("churned", timeout)

    def stop(self, timeout: float = READY_S) -> None:
        """Let every process report what it moved; the sockets stay open."""
        self._send("stop")
        self._expect("stopped", timeout)

    def total(self, key: str, kind: str = "") -> int:
        """The sum over all processes, or over those of a kind (`server`, `talk`, ...)."""
        return sum(
            one[key] for one in self.reported() if one["name"].endswith(f"-{kind}") or not kind
        )

    def reported(self) -> list[dict[str, Any]]:
        return [one for several in self.moved.values() for one in several]

    def close(self) -> None:
        end(self._process)
        self._reader.join(10)

    def _send(self, word: str) -> None:
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()

    def _expect(self, event: str, timeout: float) -> None:
        try:
            found = self._events.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the crowd was not {event} in {timeout} s") from None
        assert found == event, f"expected {event!r}, got {found}; {self.failures}"

    def _read(self) -> None:
        for line in self._process.stdout:
            fields = json.loads(line)
            event = fields.pop("event")
            if event == "moved":
                self.moved[fields["pid"]].append(fields)
            elif event == "wait":
                self.waits[fields["pid"]].append((fields["begin_ns"], fields["end_ns"]))
            elif event == "failed":
                self.failures.append(str(fields))
                self._events.put(f"a failure: {fields}")
            else:
                self._events.put(event)
        self._events.put("the end of the crowd")
