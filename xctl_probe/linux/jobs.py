"""Job, pod and rank of a process, from its cgroup and from known keys of its environment.

The path of the cgroup decides about the job; the environment, which the process itself may write,
counts only where the path names none.  A helper reads the environment, because such a read may
block as long as the process wants (`helper`).  Only values of known keys leave the helper.
"""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from xctl_probe.events import Placement, Process
from xctl_probe.linux import procfs
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import SHARE, Budget
from xctl_probe.linux.cgroup_paths import placement as placement_of_paths
from xctl_probe.linux.helper import Asks, Helper
from xctl_probe.linux.tasks import reader_of

POD_LOGS = Path("/var/log/pods")  # <namespace>_<pod>_<uid>: BuildPodLogsDirectory of the kubelet
# With the key of the index in a job array, where the id does not have it.
_JOB_KEYS = (
    (b"SLURM_JOB_ID", None),
    (b"PBS_JOBID", None),
    (b"LSB_JOBID", b"LSB_JOBINDEX"),
)
# Of a rank and of the rank on this host, the inner launcher first: a process that mpirun or
# torchrun starts inherits what srun gave to the launcher.
_RANK_KEYS = (
    (b"RANK", b"LOCAL_RANK"),
    (b"OMPI_COMM_WORLD_RANK", b"OMPI_COMM_WORLD_LOCAL_RANK"),
    (b"PMIX_RANK", b"PMIX_LOCAL_RANK"),
    (b"PMI_RANK", b"MPI_LOCALRANKID"),
    (b"SLURM_PROCID", b"SLURM_LOCALID"),
)
_JOB = re.compile(rb"[0-9]{1,20}(?:\[[0-9]{0,20}\])?(?:\.[0-9A-Za-z._-]{1,100})?")
_INDEX = re.compile(rb"[1-9][0-9]{0,19}")  # 0: the job is no array
_RANK = re.compile(rb"[0-9]{1,9}")
_POD_NAME = re.compile(r"[0-9a-z.-]{1,253}")  # of a namespace, too: RFC 1123

_WAIT_NS = 20_000_000  # for all answers of one interval
# Age of the first request after which the environment counts as unknown: longer than the time
# after which a child that another process holds up is replaced.
_GIVEN_UP_NS = 10_000_000_000
_CHECK_AGAIN_NS = 10_000_000_000  # age from which a process that is in use is read again
_IDLE_NS = 5_000_000_000  # without a request, after which the helper exits
_MOST_KEPT = 8_192
_MOST_CGROUP_BYTES = 1 << 16
_MOST_ENVIRON_BYTES = 1 << 20


class Claim(NamedTuple):
    """What the environment of a process names."""

    job_id: str | None = None
    rank: int | None = None
    local_rank: int | None = None


_NO_CLAIM = Claim()


class _Request(NamedTuple):
    pid: int
    start_ticks: int
    uid: int
    pod_uid: str | None


class _Answer(NamedTuple):
    claim: Claim
    pod: tuple[str, str] | None  # namespace and name
    spent_ns: int


def claim(environ: bytes) -> Claim:
    """Return the known values of an environment, as /proc/<pid>/environ has it.

    A value that is not of the form of a job id or a rank counts as absent.
    """
    text = b"\0" + environ
    jobs = (_job(text, key, index_key) for key, index_key in _JOB_KEYS)
    job_id = next((found for found in jobs if found is not None), None)
    ranks = [(_rank(text, key), _rank(text, local_key)) for key, local_key in _RANK_KEYS]
    rank = next((found for found, _ in ranks if found is not None), None)
    # Another launcher that gives the same rank means the same process.
    locals_ = (local for found, local in ranks if found == rank and local is not None)
    return Claim(job_id, rank, next(locals_, None) if rank is not None else None)


def _value(text: bytes, key: bytes, form: re.Pattern[bytes]) -> str | None:
    at = text.find(b"\0%b=" % key)
    if at < 0:
        return None
    begin = at + len(key) + 2
    found = form.match(text, begin)
    whole = found is not None and text[found.end() : found.end() + 1] in (b"\0", b"")
    return found[0].decode("ascii") if found and whole else None


def _job(text: bytes, key: bytes, index_key: bytes | None) -> str | None:
    """Return a job id, of an element of an array with its index: `4711[5]`."""
    job_id = _value(text, key, _JOB)
    if index_key is None or job_id is None or not job_id.isdigit():
        return job_id
    index = _value(text, index_key, _INDEX)
    return f"{job_id}[{index}]" if index else job_id


def _rank(text: bytes, key: bytes) -> int | None:
    found = _value(text, key, _RANK)
    return None if found is None else int(found)


def pod_name(uid: str, logs: Path = POD_LOGS) -> tuple[str, str] | None:
    """Return namespace and name of a pod, from the folder of its logs; None where unknown."""
    try:
        with os.scandir(logs) as folders:
            names = [folder.name for folder in folders if folder.name.endswith(f"_{uid}")]
    except OSError:
        return None
    for found in names:
        words = found.split("_")
        if len(words) == 3 and all(map(_POD_NAME.fullmatch, words[:2])):  # noqa: PLR2004
            return words[0], words[1]
    return None


class _Reader:
    """Serves requests in the helper."""

    def __init__(self, proc: Path, logs: Path) -> None:
        self._proc = proc
        self._logs = logs

    def __call__(self, request: _Request) -> _Answer:
        begun_ns = time.process_time_ns()
        # The folder of a first thread that has exited shows no memory.
        folder = self._proc / str(reader_of(request.pid, self._proc))
        found = claim(procfs.read(folder / "environ", _MOST_ENVIRON_BYTES))
        now = procfs.read_process(request.pid, self._proc)
        if now is None or now.start_ticks != request.start_ticks:
            found = _NO_CLAIM  # of a later process with this pid
        pod = pod_name(request.pod_uid, self._logs) if request.pod_uid else None
        return _Answer(found, pod, time.process_time_ns() - begun_ns)


_Key = tuple[int, int]  # pid and start


@dataclass(slots=True)
class _Entry:
    """What is known of one process."""

    process: Process
    uid: int
    comm: str  # by which an exec shows, after which the environment is another one
    cgroup: bytes
    in_cgroup: Placement
    read_ns: int
    claim: Claim = _NO_CLAIM
    pod: tuple[str, str] | None = None
    asked_ns: int | None = None  # the first request that is not answered
    settled: bool = False
    placement: Placement | None = None

    @property
    def key(self) -> _Key:
        return self.process.pid, self.process.start_ticks

    def place(self) -> None:
        """Combine what the cgroup and the environment name."""
        found = replace(self.in_cgroup, job_id=self.in_cgroup.job_id or self.claim.job_id)
        if found.job_id is not None:
            found = replace(found, rank=self.claim.rank, local_rank=self.claim.local_rank)
        if self.pod is not None:
            found = replace(found, pod_namespace=self.pod[0], pod=self.pod[1])
        self.placement = found if found != Placement() else None


class Jobs:
    """Placements of processes, read once each, and again when their cgroup changes.

    `share` of a core is the most that reads take.  Times are of CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        share: float = SHARE,
        *,
        proc: Path = procfs.PROC,
        logs: Path = POD_LOGS,
        helper: Asks | None = None,
    ) -> None:
        self._proc = proc
        self._budget = Budget(share)
        self._barred = Barred()
        self._helper = helper or Helper(_Reader(proc, logs), self._bar)
        self._known: OrderedDict[_Key, _Entry] = OrderedDict()
        self._pending: dict[_Key, None] = {}
        self._changed: dict[_Key, None] = {}
        self._wait_ns = 0
        self._asked_ns: int | None = None  # time of the last request

    def find(self, processes: set[Process], now_ns: int) -> list[Process]:
        """Read what is not known of these processes; return those whose placement has changed.

        Those of an earlier call that were not read then are among them.
        """
        self._wait_ns = _WAIT_NS
        self._changed.clear()
        self._take_late()
        for key in list(self._pending):
            self._ask(self._known[key], now_ns)
        for process in processes:
            self._find(process, now_ns)
        self._rest(now_ns)
        return [self._known[key].process for key in self._changed if key in self._known]

    def placement(self, process: Process | None) -> Placement | None:
        """Return the placement of a process, None where it has none or is not known yet."""
        entry = self._known.get((process.pid, process.start_ticks)) if process else None
        return entry.placement if entry else None

    def close(self) -> None:
        """Stop the helper.  Safe to call twice."""
        self._helper.close()

    def _find(self, process: Process, now_ns: int) -> None:
        entry = self._known.get((process.pid, process.start_ticks))
        if entry is not None:
            if now_ns - entry.read_ns >= _CHECK_AGAIN_NS:
                self._read_again(entry, now_ns)
            return
        begun_ns = time.monotonic_ns()
        uid = procfs.real_user(process.pid, self._proc)
        if not self._budget.allows(uid, now_ns):
            return
        cgroup = self._cgroup(process.pid)
        now = procfs.read_process(process.pid, self._proc)
        gone = now is None or now.start_ticks != process.start_ticks
        in_cgroup = Placement() if gone else _parsed(cgroup)
        comm = now.comm if now else ""
        entry = _Entry(process, uid, comm, cgroup, in_cgroup, now_ns, settled=gone)
        self._keep(entry)
        self._budget.charge(uid, time.monotonic_ns() - begun_ns, now_ns)
        if not gone:
            entry.place()
            self._pending[entry.key] = None
            self._ask(entry, now_ns)

    def _read_again(self, entry: _Entry, now_ns: int) -> None:
        """Notice another cgroup, or another program in the same process."""
        if not self._budget.allows(entry.uid, now_ns):
            return
        begun_ns = time.monotonic_ns()
        entry.read_ns = now_ns
        pid = entry.process.pid
        cgroup, now = self._cgroup(pid), procfs.read_process(pid, self._proc)
        self._budget.charge(entry.uid, time.monotonic_ns() - begun_ns, now_ns)
        if now is None or now.start_ticks != entry.process.start_ticks:
            return  # gone: what was known of it stays
        if cgroup == entry.cgroup and now.comm == entry.comm:
            return
        if now.comm != entry.comm:
            entry.claim = _NO_CLAIM
        entry.cgroup, entry.comm = cgroup, now.comm
        entry.in_cgroup, entry.pod = _parsed(cgroup), None
        entry.asked_ns, entry.settled = None, False
        entry.place()
        self._pending[entry.key] = None
        self._ask(entry, now_ns)

    def _cgroup(self, pid: int) -> bytes:
        return procfs.read(self._proc / str(pid) / "cgroup", _MOST_CGROUP_BYTES)

    def _keep(self, entry: _Entry) -> None:
        if len(self._known) >= _MOST_KEPT:
            oldest, _ = self._known.popitem(last=False)
            self._pending.pop(oldest, None)
        self._known[entry.key] = entry

    def _ask(self, entry: _Entry, now_ns: int) -> None:
        """Read the environment, within the time of this interval."""
        pid, uid = entry.process.pid, entry.uid
        if self._barred.covers(pid, uid) or (
            entry.asked_ns is not None and now_ns - entry.asked_ns > _GIVEN_UP_NS
        ):
            self._settle(entry)
            return
        request = _Request(pid, entry.process.start_ticks, uid, entry.in_cgroup.pod_uid)
        if self._helper.is_full or self._helper.has(request):
            return
        if not self._budget.allows(uid, now_ns):
            return
        begun_ns = time.monotonic_ns()
        answer = self._helper.ask(request, self._wait_ns)
        self._asked_ns = now_ns
        if entry.asked_ns is None and (answer is not None or self._helper.has(request)):
            entry.asked_ns = now_ns
        self._wait_ns = max(self._wait_ns - (time.monotonic_ns() - begun_ns), 0)
        if answer is not None:
            self._take(entry, answer)
        else:
            self._wait_ns = 0  # the others are late as well
        self._take_late()

    def _take_late(self) -> None:
        """Take the answers that came after their interval."""
        self._helper.collect()
        for (request, _), answer, _ in self._helper.late:
            entry = self._known.get((request.pid, request.start_ticks))
            if entry is not None and answer is not None and not entry.settled:
                self._take(entry, answer)
        self._helper.late.clear()

    def _take(self, entry: _Entry, answer: _Answer) -> None:
        self._budget.charge(entry.uid, answer.spent_ns, time.monotonic_ns())
        entry.claim, entry.pod = answer.claim, answer.pod
        entry.place()
        self._settle(entry)

    def _settle(self, entry: _Entry) -> None:
        entry.settled = True
        self._pending.pop(entry.key, None)
        self._changed[entry.key] = None

    def _rest(self, now_ns: int) -> None:
        """Let the helper exit where it has had no request for a while."""
        if self._asked_ns is not None and now_ns - self._asked_ns > _IDLE_NS:
            self._asked_ns = None
            self._helper.close()

    def _bar(self, request: _Request) -> None:
        """Ask no more about who has held the helper up."""
        self._barred.add(request.pid, request.uid)


def _parsed(cgroup: bytes) -> Placement:
    return placement_of_paths(cgroup.decode("utf-8", "replace"))
