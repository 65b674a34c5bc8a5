"""Two looks at a process and its sockets, and what follows from them."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xctl_probe.calls import Call, Role, Watched
from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.facts import Process
from xctl_probe.fallback.sock_diag import SockDiag
from xctl_probe.owners import read_process
from xctl_probe.why.diag_looks import DiagLooks
from xctl_probe.why.proc_looks import ProcLooks, socket_fds, udp_sockets
from xctl_probe.why.sockets import Tcp, Udp
from xctl_probe.why.threads import Thread, idle_times_ms, read_threads, waits_in
from xctl_probe.why.verdict import Finding, findings, waiters

GAP_S = 0.3
_CLONE_NEWNET = 0x40000000
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h

# Kernel functions in which a thread waits for the network, where nothing says on which socket.
_DIRECT = ("sk_wait_data", "wait_woken", "__skb_wait_for", "sk_stream_wait", "inet_csk_accept")
_SENDING = ("sock_alloc_send", "sock_wait_for_wmem")
_LOOPS = ("ep_poll", "do_epoll_wait", "do_poll", "poll_schedule", "do_sys_poll", "do_select",
          "io_cqring_wait")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explained:
    """What is known of one process; `waiting` are the threads that wait on descriptors.

    `source` is where TCP was looked up; `notes` say what could not be seen, and the remedy.
    """

    process: Process
    state: str
    threads: tuple[Thread, ...]
    waiting: dict[int, Call]
    tcp: tuple[Tcp, ...]
    udp: tuple[Udp, ...]
    found: tuple[Finding, ...]
    source: str
    notes: tuple[str, ...]


def explain(
    pid: int,
    *,
    sock_diag: bool = True,
    gap_s: float = GAP_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Explained:
    """Look twice, `gap_s` apart; without `sock_diag` at /proc/net only.

    Raises UsageError for a pid that is none, that is gone, or that may not be looked into.
    """
    if not 0 < pid <= _LARGEST_PID:
        raise UsageError(f"why {pid}: no such process; see `ps -e` for those there are")
    # On a thread of its own, which may move to another CPU or network namespace.
    outcome: list[Explained | BaseException] = []

    def look() -> None:
        try:
            outcome.append(_looks(pid, sock_diag, gap_s, sleep))
        except (ProbeError, OSError) as error:
            outcome.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    if not outcome:
        raise ProbeError(f"why {pid}: the look at it failed; see above")
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _looks(pid: int, sock_diag: bool, gap_s: float, sleep: Callable[[float], None]) -> Explained:
    process = _alive(pid)
    fds = _fds(pid)
    refused = "--no-sock-diag was given" if not sock_diag else None
    if refused is None and _is_elsewhere(pid) and not _enter(pid):
        refused = (
            "it lives in another network namespace, which only root may enter "
            f"(sudo xctl-probe-network why {pid})"
        )
    if refused is None:
        try:
            diag = SockDiag()
            try:
                return _look_at_diag(process, diag, fds, gap_s, sleep)
            finally:
                diag.close()
        except OSError as error:
            refused = f"sock_diag is refused here ({error.strerror})"
    note = f"{refused}; /proc/net has queues and timers, but no times, nor who spoke last"
    return _look_at_proc(process, fds, gap_s, sleep, [note])


def _look_at_diag(
    process: Process,
    diag: SockDiag,
    fds: dict[int, int],
    gap_s: float,
    sleep: Callable[[float], None],
) -> Explained:
    looks = DiagLooks()
    begun_ns = time.monotonic_ns()
    looks.look(diag.sockets(), fds, begun_ns)
    before = read_threads(process.pid)
    sleep(gap_s)
    fds = _fds(process.pid)
    now_ns = time.monotonic_ns()
    messages = list(diag.sockets())
    looks.look(messages, fds, now_ns)
    after = read_threads(process.pid)
    tcp = looks.tcp(fds, messages, now_ns - begun_ns)
    return _explained(process, before, after, fds, tcp, "sock_diag", [])


def _look_at_proc(
    process: Process,
    fds: dict[int, int],
    gap_s: float,
    sleep: Callable[[float], None],
    notes: list[str],
) -> Explained:
    looks = ProcLooks(process.pid)
    try:
        looks.look(fds)
        before = read_threads(process.pid)
        sleep(gap_s)
        fds = _fds(process.pid)
        looks.look(fds)
    except OSError as error:
        raise ProbeError(
            f"neither sock_diag nor /proc/{process.pid}/net can be read here "
            f"({error.strerror}); mount /proc, or allow AF_NETLINK sockets"
        ) from error
    after = read_threads(process.pid)
    return _explained(process, before, after, fds, looks.tcp(fds), "/proc/net", notes)


def _explained(
    process: Process,
    before: list[Thread],
    after: list[Thread],
    fds: dict[int, int],
    tcp: list[Tcp],
    source: str,
    notes: list[str],
) -> Explained:
    _same(process)
    idle_ms = idle_times_ms(after)
    threads = [replace(thread, idle_ms=idle_ms.get(thread.tid)) for thread in after]
    udp = udp_sockets(process.pid, fds)
    network = {socket.inode for socket in tcp} | {socket.inode for socket in udp}
    earlier = {thread.tid: thread for thread in before}
    waiting: list[tuple[Thread, Call]] = []
    for thread in threads:
        call = waits_in(thread, earlier.get(thread.tid)) or _assumed(thread, fds, network)
        if call is not None:
            waiting.append((thread, call))
    if network and any(not thread.call_readable for thread in threads):
        remedy = "" if os.geteuid() == 0 else ": run as root to see it"
        notes.append(
            "on which socket a thread waits may not be read here (/proc/PID/syscall; Yama's "
            f"kernel.yama.ptrace_scope, or a container's rules){remedy}"
        )
    found = findings(tcp, udp, waiters(waiting, fds, network))
    return Explained(
        process=process,
        state=_state(process.pid),
        threads=tuple(threads),
        waiting={thread.tid: call for thread, call in waiting},
        tcp=tuple(tcp),
        udp=tuple(udp),
        found=tuple(found),
        source=source,
        notes=tuple(notes),
    )


def _assumed(thread: Thread, fds: dict[int, int], network: set[int]) -> Call | None:
    """What the name of the kernel function says, where the call itself may not be read."""
    sending = thread.wchan.startswith(_SENDING)
    direct = sending or thread.wchan.startswith(_DIRECT)
    unreadable = not thread.call_readable and (direct or thread.wchan.startswith(_LOOPS))
    # io_uring's requests show nowhere.
    if not unreadable and not thread.wchan.startswith("io_cqring_wait"):
        return None
    watched = tuple(
        Watched(fd, not sending, sending) for inode, fd in fds.items() if inode in network
    )
    return Call(thread.wchan, Role.POLL if direct else Role.EPOLL, watched)


def _alive(pid: int) -> Process:
    process = read_process(pid)
    if process is None:
        raise UsageError(f"why {pid}: no such process; see `ps -e` for those there are")
    if _state(pid) == "Z":
        raise UsageError(f"why {pid}: {process.comm} has ended; its parent has yet to notice")
    return process


def _same(process: Process) -> None:
    now = read_process(process.pid)
    if now is None or now.start_ticks != process.start_ticks or _state(process.pid) == "Z":
        raise UsageError(f"why {process.pid}: {process.comm} ended while it was looked at")


def _fds(pid: int) -> dict[int, int]:
    try:
        return socket_fds(pid)
    except PermissionError:
        owner = os.stat(f"/proc/{pid}").st_uid
        raise UsageError(
            f"why {pid}: not permitted to look into a process of user {_user(owner)}: "
            f"run as root (sudo xctl-probe-network why {pid})"
        ) from None
    except OSError:
        raise UsageError(f"why {pid}: the process ended while it was looked at") from None


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 - only for a refusal

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "X"
    return stat.rpartition(b")")[2].split()[0].decode("ascii", "replace")


def _is_elsewhere(pid: int) -> bool:
    """Has the process a network namespace of its own?  False where that may not be known."""
    try:
        ours, its = (os.readlink(f"/proc/{name}/ns/net") for name in ("thread-self", pid))
    except OSError:
        return False
    return ours != its


def _enter(pid: int) -> bool:
    """Move this thread into the network namespace of the process; setns(2)."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    try:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return bool(setns(fd, _CLONE_NEWNET) == 0)
    finally:
        os.close(fd)
