"""The processes and waits of many hosts at one moment, as the graph that `blame` follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

from xctl_probe.commands.blame.graph import Graph, Member, Node, Outside, Wait
from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.recorded import ACTIVITIES
from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.events import Cause, Direction, PeerActivity, Process
from xctl_probe.fleet.rows import Host, Row, host_of_row

_SLEEPING = "sleeping"  # in the queries: the state that a probe writes as null
_SLEEPS, _NOT_REPORTED = "its threads sleep", "what it does is not in the streams"

_Key = tuple[Host, int]  # with the pid


class FleetTrail:
    """The processes and waits of one moment; a node is a number for each process of each host."""

    def __init__(self, addresses: Iterable[Row], stopped: dict[Host, int]) -> None:
        self.ambiguous = 0
        self.has_connections = False
        self._known: dict[_Key, Member] = {}  # of all processes of jobs
        self._numbers: dict[_Key, int] = {}  # of those that wait or are waited for
        self._members: dict[int, Member] = {}
        self._waits: list[Wait] = []
        self._stopped = stopped
        self._hosts: dict[str, set[Host]] = {}
        self._reached: set[str] = set()  # addresses that a connection of another host leads to
        for row in addresses:
            address = row["address"].strip("[]")
            self._hosts.setdefault(address, set()).add(host_of_row(row))
            if row["is_reached"]:
                self._reached.add(address)
        hosts = {host for found in self._hosts.values() for host in found}
        names = Counter(host.name for host in hosts)
        self._shared = {name for name, count in names.items() if count > 1}

    @property
    def sizes(self) -> dict[str, int]:
        """The number of ranks of each job."""
        jobs = {one.job for one in self._known.values() if one.job and one.job.rank is not None}
        ranks = {(job.job_id, job.rank) for job in jobs}
        return dict(Counter(job_id for job_id, _ in ranks))

    def add_member(self, row: Row) -> None:
        """Add what is known of a process of a job."""
        host, state = host_of_row(row), row["state"]
        self.has_connections |= state is not None
        activity = PeerActivity(state) if state not in (None, _SLEEPING) else None
        does = self._not_reported(host)
        if host in self._stopped:
            activity = None
        elif state is not None:
            does = ACTIVITIES[activity] if activity else _SLEEPS
        self._known[host, row["pid"]] = self._member(host, row, activity, does)

    def _not_reported(self, host: Host) -> str:
        if host not in self._stopped:
            return _NOT_REPORTED
        return f"the stream of {self._label(host)} stops {self._before(host)} before"

    def _before(self, host: Host) -> str:
        return format_duration(self._stopped[host])

    def add_waiter(self, row: Row) -> None:
        """Add what the record of a wait names its process.

        It is later than the begin of a process with the same pid, which may have exited unseen.
        """
        host = host_of_row(row)
        key = host, row["pid"]
        known = self._known.get(key)
        if known is None or _is_another(known, row):
            self._known[key] = self._member(host, row, None, None)
        self._number(key)

    def add_wait(self, row: Row) -> None:
        """Add a wait, with the process at the other socket where one was found."""
        host = host_of_row(row)
        self._waits.append(
            Wait(
                self._number((host, row["pid"])),
                self._target(host, row),
                float(row["duration_ms"]),
                Direction(row["direction"]),
                Cause(row["cause"]) if row["cause"] else None,
                row["local_endpoint"],
                row["remote_endpoint"],
            )
        )

    def _target(self, host: Host, row: Row) -> Node:
        state = row["peer_state"]
        activity = PeerActivity(state) if state else None
        if row["peer_pid"] is not None:
            does = ACTIVITIES[activity] if activity else _NOT_REPORTED
            process = Process(row["peer_pid"], 0, row["peer_comm"] or "")
            seen = Member(process, activity, does, host=self._label(host))
            number = self._number((host, process.pid), seen)
            if activity is not None:  # seen on this connection, by the host of both
                self._members[number] = replace(self._members[number], activity=activity, does=does)
            return number
        if row["peer_hosts"] == 1:
            there = Host(row["other_host"], row["other_boot_id"])
            process = Process(row["other_pid"], 0, "")
            unknown = Member(process, None, self._not_reported(there), host=self._label(there))
            return self._number((there, process.pid), unknown)
        address = row["remote_endpoint"].rpartition(":")[0].strip("[]")
        if activity is not None or is_loopback(address):  # it is of this host
            return Outside(address, streams=True, host=self._label(host))
        self.ambiguous += row["remote_hosts"] > 1 or row["local_hosts"] > 1
        return self._outside(host, address)

    def _outside(self, waiter: Host, address: str) -> Outside:
        """Return an address whose process is not known, with its host where that is certain.

        A private address may be of a container: that one host has it does not exclude another one,
        unless a connection from another host leads to it.
        """
        hosts = self._hosts.get(address, set())
        if not hosts:
            return Outside(address, streams=True)
        host = next(iter(hosts))
        if len(hosts) > 1 or not (
            host == waiter or address in self._reached or _is_global(address)
        ):
            return Outside(address, streams=True, unclear=True)
        stopped_ms = self._stopped.get(host)
        return Outside(address, streams=True, host=self._label(host), stopped_ms=stopped_ms)

    def _number(self, key: _Key, seen: Member | None = None) -> int:
        """Return the node of a process; what its own host has reported of it counts first."""
        if key not in self._numbers:
            number = self._numbers[key] = len(self._numbers) + 1
            member = self._known.get(key, seen)
            assert member is not None
            self._members[number] = member
        return self._numbers[key]

    def _member(
        self, host: Host, row: Row, activity: PeerActivity | None, does: str | None
    ) -> Member:
        job = None
        if row["job_id"] is not None:
            job = Job(row["job_id"], row["job_rank"])
        process = Process(row["pid"], 0, row["comm"] or "")
        return Member(process, activity, does, job, host=self._label(host))

    def _label(self, host: Host) -> str:
        """Return the name of a host; of several with one name also the begin of the boot id."""
        return f"{host.name}/{host.boot_id[:8]}" if host.name in self._shared else host.name

    def graph(self) -> Graph:
        """Return the graph of what was added."""
        return Graph(self._members, tuple(self._waits))


def _is_another(known: Member, row: Row) -> bool:
    """True where a wait is of another process with the same pid: of another job, or of none."""
    if row["job_id"] is None:
        return known.job is not None and known.process.comm != row["comm"]
    return known.job is None or known.job.job_id != row["job_id"]


def is_loopback(address: str) -> bool:
    """Return whether an address is of the own host; False for what is no address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _is_global(address: str) -> bool:
    """True for an address that no two hosts may have."""
    try:
        return ip_address(address).is_global
    except ValueError:
        return False
