"""Hosts for the programs: one network namespace, or several on a bridge."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from support.namespace import Namespace

from evaluation.process import Process
from evaluation.sockets import held

SUBNET = "10.83.0"
DEVICE = "eth0"


class Room:
    """The hosts of one run; `close` stops all that was started here.

    `layout` is `one` (all processes share a loopback) or `several` (each of `hosts` namespaces
    has the address 10.83.0.<n+1> on a bridge).  `folder` receives stderr of the processes.
    """

    def __init__(self, layout: str, hosts: int, folder: Path) -> None:
        self.layout = layout
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.ended: list[Process] = []
        self._switch: Namespace | None = None
        if layout == "one":
            self.namespaces = [Namespace()]
            return
        self._switch = Namespace()
        self._switch.run("ip", "link", "add", "br0", "type", "bridge")
        self._switch.run("ip", "link", "set", "br0", "up")
        self.namespaces = [self._plugged(number) for number in range(hosts)]

    def _plugged(self, number: int) -> Namespace:
        host, port = Namespace(), f"p{number}"
        peer = ("peer", "name", port, "netns", str(self._switch.pid))
        host.run("ip", "link", "add", DEVICE, "type", "veth", *peer)
        host.run("ip", "address", "add", f"{SUBNET}.{number + 1}/24", "dev", DEVICE)
        host.run("ip", "link", "set", DEVICE, "up")
        self._switch.run("ip", "link", "set", port, "master", "br0", "up")
        return host

    def namespace(self, host: int) -> Namespace:
        return self.namespaces[0 if self.layout == "one" else host]

    def address(self, host: int) -> str:
        return "127.0.0.1" if self.layout == "one" else f"{SUBNET}.{host + 1}"

    def device(self) -> str:
        return "lo" if self.layout == "one" else DEVICE

    def spawn(self, name: str, host: int, command: Sequence[object], **more: object) -> Process:
        """Start a process of the job, as a user without privileges."""
        words = [*self.namespace(host).command(), *map(str, command)]
        process = Process(name, host, words, self.folder, **more)
        if name in self.processes:
            self.ended.append(self.processes[name])
        self.processes[name] = process
        return process

    def names_by_pid(self) -> dict[int, str]:
        """The name of each process of the job, of ended ones too, and of their children."""
        names = {one.pid: one.name for one in (*self.ended, *self.processes.values())}
        for process in self.processes.values():
            for child in descendants(process.pid):
                names.setdefault(child, process.name)
        return names

    def sockets(self) -> dict[tuple[str, str], int]:
        """The pid that holds each TCP socket of the job, as `sockets.held` has it."""
        return held(self.names_by_pid(), [one.pid for one in self.namespaces])

    def close(self) -> None:
        for process in self.processes.values():
            process.end()
        for pid in self._left_behind():  # Ray's services outlive the one that started them
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for namespace in (*self.namespaces, *filter(None, [self._switch])):
            namespace.close()

    def _left_behind(self) -> list[int]:
        """The processes that still are in the namespaces, but for those that hold them."""
        holders = [namespace.pid for namespace in self.namespaces]
        places = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in holders}
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "ns/net").stat().st_ino in places:
                    found.append(int(process.name))
        return [pid for pid in found if pid not in holders]


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        for task in tasks:
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found
