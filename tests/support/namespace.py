"""A network namespace of the test's own: its loopback, its rules, its processes.

As root the namespace is plain; as another user it comes with a user namespace, in which that
user is root.  Either way, nothing of it outlives its holder, a `cat` on a pipe of ours.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from support.require import require, require_tools

UNPRIVILEGED = 65534
FLOODER = 65533  # loses its own events only
ATTACKER = 65532  # whose processes probes of other users stop reading
USERS = {"unprivileged": UNPRIVILEGED, "attacker": ATTACKER}
DROP_CAPABILITIES = ("--bounding-set=-all", "--inh-caps=-all")

# A receive buffer grows to 6 MB at most, as before Linux 6.18: with its 32 MB, what tests take for
# more than all buffers fits into one.
_UP = """
    ip link set lo up && echo 4096 131072 6291456 >/proc/sys/net/ipv4/tcp_rmem && echo up &&
    exec cat
"""

_veth_number = count()


class Namespace:
    """One network namespace with `lo` up; `close` removes it and what runs in it."""

    def __init__(self, beside: Namespace | None = None) -> None:
        """A new namespace; `beside` is one whose user namespace it is to share."""
        require_tools("unshare", "nsenter", "setpriv", "ip")
        self._root = os.geteuid() == 0
        new = ["unshare", "--net"] if self._root or beside else ["unshare", "-r", "-n"]
        enter = beside.command(user="root") if beside and not self._root else []
        self._holder = subprocess.Popen(
            [*enter, *new, "sh", "-c", _UP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        up = self._holder.stdout.readline() == b"up\n"
        if not up:
            reason = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            require(up, f"no network namespace can be made here: {reason}")
        self.pid = self._holder.pid

    def command(self, user: str = "unprivileged") -> list[str]:
        """The words before a command that run it in here.

        `unprivileged` has no capability at all: for the tests' root that is uid 65534,
        for another user it is that user, as `attacker` is.  `root` may do anything to this
        namespace.
        """
        enter = ["nsenter", f"--net=/proc/{self.pid}/ns/net"]
        if not self._root:
            enter = ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(self.pid)]
        if user == "root":
            return enter
        drop = ["setpriv", *DROP_CAPABILITIES]
        if self._root:
            drop += [f"--reuid={USERS[user]}", f"--regid={USERS[user]}", "--clear-groups"]
        return [*enter, *drop]

    def run(self, *words: str) -> str:
        """Run a command in here as its root, and give back what it prints."""
        command = [*self.command("root"), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def kernel_counter(self, file: str, name: str) -> int:
        """One of the kernel's own counters of TCP in /proc/net/FILE: `snmp` or `netstat`."""
        lines = [line.split() for line in self.run("cat", f"/proc/net/{file}").splitlines()]
        names, values = (line for line in lines if line[0] in ("Tcp:", "TcpExt:"))
        return int(values[names.index(name)])

    def drop_incoming(self, match: str) -> None:
        """Lose, silently, the incoming packets that an nft `match` names.

        At the input hook, for at the output hook the sender would get an error.
        """
        self._filter("input", f"{match} counter drop")

    def refuse_incoming(self, match: str, answer: str) -> None:
        """Have the incoming packets that an nft `match` names rejected with an ICMP `answer`."""
        self._filter("input", f"{match} counter reject with {answer}")

    def drop_outgoing(self, match: str) -> None:
        """Keep packets from leaving; their sender gets an error."""
        self._filter("output", f"{match} counter drop")

    def count_leaving(self, match: str) -> None:
        """Count the packets that leave, whatever becomes of them: see `counted_packets`."""
        self._filter("postrouting", f"{match} counter")

    def _filter(self, hook: str, rule: str) -> None:
        require_tools("nft")
        self.run(
            "nft",
            "add table inet test; "
            f"add chain inet test {hook} {{ type filter hook {hook} priority 0; }}; "
            f"add rule inet test {hook} {rule}",
        )

    def counted_packets(self, hook: str = "input") -> int:
        """How many packets the rules at a hook have dropped or counted so far."""
        listed = json.loads(self.run("nft", "--json", "list", "table", "inet", "test"))
        rules = [part["rule"] for part in listed["nftables"] if "rule" in part]
        words = [word for rule in rules if rule["chain"] == hook for word in rule["expr"]]
        return sum(word["counter"]["packets"] for word in words if "counter" in word)

    def lose_nothing(self) -> None:
        self.run("nft", "delete table inet test")

    def join(
        self, other: Namespace, subnet: str = "10.23.29", number: int | None = None
    ) -> tuple[str, str]:
        """Join two namespaces by a veth pair; the interface's name here and there.

        This end has the address `<subnet>.1`, the other `<subnet>.2`.  The same `number` makes
        the same names again.
        """
        number = next(_veth_number) if number is None else number
        here, there = f"va{number}", f"vb{number}"
        self.run(
            *("ip", "link", "add", here, "type", "veth"),
            *("peer", "name", there, "netns", str(other.pid)),
        )
        for side, name, address in ((self, here, 1), (other, there, 2)):
            side.run("ip", "address", "add", f"{subnet}.{address}/24", "dev", name)
            side.run("ip", "link", "set", name, "up")
        return here, there

    def close(self) -> None:
        self._holder.stdin.close()
        self._holder.wait(60)
        self._holder.stdout.close()
        self._holder.stderr.close()


class PidNamespace:
    """A pid namespace below ours, with a /proc of its own, in one network namespace."""

    def __init__(self, netns: Namespace) -> None:
        require(os.geteuid() == 0, "only root can make a pid namespace here")
        new = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self._netns = netns
        self._holder = subprocess.Popen(
            [*netns.command("root"), *new, "sh", "-c", "echo up && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout.readline() == b"up\n"

    def command(self, user: str = "unprivileged") -> list[str]:
        """As `Namespace.command`; what is started so is the child of the process we know."""
        nsenter, *rest = self._netns.command(user)
        below = f"/proc/{self._holder.pid}/ns"
        return [nsenter, f"--pid={below}/pid_for_children", f"--mount={below}/mnt", *rest]

    def pid_outside(self, pid: int) -> int:
        """What we call the process that is `pid` in there."""
        here = os.stat(f"/proc/{self._holder.pid}/ns/pid_for_children").st_ino
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                status = (process / "status").read_text(errors="replace")  # of any name
                numbers = re.search(r"NSpid:(.*)", status)[1].split()
                if int(numbers[-1]) == pid and (process / "ns/pid").stat().st_ino == here:
                    return int(numbers[0])
        raise AssertionError(f"nobody is {pid} in there")

    def close(self) -> None:
        self._holder.stdin.close()
        self._holder.wait(60)
        self._holder.stdout.close()


def spawn(command: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
    """Start a program with pipes, away from any terminal and from the checkout."""
    piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(list(command), cwd="/", **(piped | options))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program by its pid, wait for its end and give back its pipes."""
    if process.poll() is None:
        process.kill()
    process.wait(60)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None and not pipe.closed:
            pipe.close()
