"""What each thread does, and the answer that all of them allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.why_sockets import FD, INODE, OPENED
from unit.commands.why.test_report import BLOCKED, IDLE, PID

from xctl_probe.commands.why.findings.finding import ranked
from xctl_probe.commands.why.others import File, Other, distant_files, mapped_file, mounted_file
from xctl_probe.commands.why.outside import outside
from xctl_probe.commands.why.report import headline
from xctl_probe.commands.why.sockets import Udp
from xctl_probe.commands.why.thread_activity import Kind, thread_activity
from xctl_probe.linux.syscalls import MOST_FDS, Call, Role, Watched

NOTHING = "not waiting on the network"
UNSEEN = "whether it waits on the network could not be seen"
READ = Call("read", Role.RECEIVE, (Watched(FD, True, False),))
LOOP = Call("epoll_wait", Role.EPOLL, (Watched(FD, True, False), Watched(9, True, False)))


def explained(thread, call=None, **more):
    """One process with this one thread."""
    thread = replace(thread, call=call)
    waiting = {thread.tid: call} if call else {}
    diagnosis = replace(IDLE, threads=(thread,), waiting=waiting, **more)
    found = outside(
        list({thread.tid: (thread, call)}.values()) if call else [], [thread], diagnosis.files
    )
    return replace(diagnosis, found=tuple(ranked([*diagnosis.found, *found])))


@pytest.mark.parametrize(
    ("wchan", "expected_text"),
    [
        ("rpc_wait_bit_killable", "waits for an NFS server"),
        ("nfs4_handle_exception", "waits for an NFS server"),
        ("wait_for_response", "waits for an SMB server"),
        ("p9_client_rpc", "waits for a 9P server"),
        ("ceph_mdsc_wait_request", "waits for a Ceph cluster"),
    ],
)
def test_a_file_server_is_the_network(wchan, expected_text):
    diagnosis = explained(replace(BLOCKED, state="D", wchan=wchan))
    assert headline(diagnosis).startswith(expected_text)
    assert diagnosis.found[0].waits


def test_a_read_of_a_file_on_the_network_waits_for_its_server():
    """Whatever kernel function it sleeps in."""
    thread = replace(BLOCKED, state="D", wchan="folio_wait_bit_common")
    diagnosis = explained(thread, READ, files={FD: File("nfs4", "server:/home")})
    assert headline(diagnosis) == "waits for a file of server:/home (nfs4) for 12.5 s"
    assert headline(explained(thread, READ)) == f"{NOTHING}: it is waiting for a disk"


POLL = Call("poll", Role.POLL, (Watched(FD, True, False),))
YOUNG = Udp(FD, INODE, "10.0.0.1:40001", None, 0, 0, 0)


def test_a_poll_that_is_younger_than_a_stall_may_be_one_of_many():
    """A resolver that asks again each time: between two polls there is no wait to find."""
    young = explained(BLOCKED, POLL, udp=(YOUNG,), found=())
    assert headline(young) == (
        "waiting on the network, where nothing is late: it is waiting for events, on 1 socket"
    )
    answered = explained(BLOCKED, POLL, udp=(replace(YOUNG, receive_queue=23),), found=())
    assert headline(answered).startswith(NOTHING)


def test_a_read_of_what_is_no_socket_is_not_one_of_a_socket():
    """A terminal sleeps in the function in which sockets do."""
    thread = replace(BLOCKED, wchan="wait_woken")
    call = Call("read", Role.RECEIVE, (Watched(0, True, False),))
    assert headline(explained(thread, call)) == (
        f"{NOTHING}: it is in read on fd 0, which is no socket"
    )


def test_a_splice_waits_at_either_end():
    splice = Call("splice", Role.MOVE, (Watched(3, True, False), Watched(FD, False, True)))
    blocked = replace(BLOCKED, wchan="wait_woken")
    diagnosis = explained(blocked, splice, tcp=(OPENED,))
    assert headline(diagnosis).endswith("it is in splice on fd 7 (10.0.0.7:5432)")
    unknown = explained(blocked, splice, others=(Other(FD, INODE, "MPTCP"),))
    assert headline(unknown) == f"{UNSEEN}: it is in splice on a Multipath TCP socket (fd 7)"


@pytest.mark.parametrize(
    ("call", "more"),
    [
        (READ, {"closed": frozenset((FD,))}),
        (Call("recvfrom", Role.RECEIVE, READ.watched), {}),  # a file has the number now
        (READ, {"others": (Other(FD, INODE, "UNIX-STREAM"),)}),
    ],
)
def test_a_socket_that_another_thread_closed_is_not_visible(call, more):
    """The call keeps it, and its number may be that of something else."""
    thread = replace(BLOCKED, wchan="wait_woken")
    assert headline(explained(thread, call, **more)) == (
        f"{UNSEEN}: it is in {call.name} on fd 7, a descriptor that was closed"
    )
    if "closed" in more:
        assert headline(explained(replace(thread, wchan="pipe_read"), call, **more)) == (
            f"{NOTHING}: it is waiting on a pipe"
        )
        polled = explained(replace(thread, wchan="do_poll"), POLL, **more)
        assert headline(polled) == (
            f"{UNSEEN}: it is waiting for events, also on a descriptor that was closed"
        )


@pytest.mark.parametrize("role", [Role.POLL, Role.EPOLL])
def test_a_poll_for_the_close_of_a_connection_is_for_the_network(role):
    """POLLRDHUP, or no event at all; not where an entry has reported once."""
    call = Call("call", role, (Watched(FD, False, False),))
    diagnosis = explained(BLOCKED, call, tcp=(OPENED,))
    assert headline(diagnosis) == (
        f"{UNSEEN}: it is waiting for events of 10.0.0.7:5432 other than data"
    )
    for other in (
        replace(diagnosis, disarmed=frozenset((INODE,))),
        replace(diagnosis, tcp=(replace(OPENED, opened=False),)),  # of a client
        replace(diagnosis, tcp=(replace(OPENED, state="CLOSE_WAIT"),)),
        replace(diagnosis, tcp=(), udp=(YOUNG,)),
    ):
        assert headline(other) == f"{NOTHING}: it is waiting for events, on 1 socket"


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        ({"send_queue": 4_096}, True),
        ({}, False),
        ({"state": "SYN_SENT", "unacked_segments": 1}, True),
        ({"state": "SYN_SENT", "unacked_segments": 0}, False),  # TCP_FASTOPEN_CONNECT
        ({"state": "LISTEN", "send_queue": 4_096}, False),  # the limit of its queue
    ],
)
def test_a_poll_for_room_waits_while_data_move(change, waits):
    call = Call("poll", Role.POLL, (Watched(FD, False, True),))
    diagnosis = explained(BLOCKED, call, tcp=(replace(OPENED, **change),))
    on_time = "waiting on the network, where nothing is late"
    assert headline(diagnosis) == (
        f"{on_time if waits else NOTHING}: it is waiting for events, on 1 socket"
    )


def test_a_page_may_be_of_a_mapped_file_of_a_server():
    """A page fault is no call, and shows no file."""
    thread = replace(BLOCKED, state="D", wchan="__folio_lock")
    diagnosis = explained(thread, mapped=File("nfs4", "server:/home"))
    assert headline(diagnosis) == (
        f"{UNSEEN}: it is waiting for a page, and has mapped a file of server:/home (nfs4)"
    )
    assert headline(explained(thread)) == f"{NOTHING}: it is waiting for a disk"
    opens = replace(thread, in_other_call=True)
    more = {"mapped": File("nfs4", "server:/home")}
    assert headline(explained(opens, **more)) == f"{NOTHING}: it is waiting for a disk"
    assert headline(explained(opens, mounted=File("fuse.sshfs", "host:/"))) == (
        f"{UNSEEN}: it is waiting for a page, and may use host:/ (fuse.sshfs)"
    )


def test_what_an_io_uring_waits_for_is_not_visible():
    """Requests, and sockets that only it holds."""
    thread = replace(BLOCKED, wchan="io_cqring_wait", call=None)
    assert headline(explained(thread)) == f"{UNSEEN}: it is waiting in io_uring"
    diagnosis = explained(thread, replace(POLL, watched=()), tcp=(), udp=())
    diagnosis = replace(diagnosis, threads=(thread,))
    assert headline(diagnosis) == (
        f"{UNSEEN}: it is waiting in io_uring, which may hold sockets of its own"
    )
    polled = explained(replace(BLOCKED, wchan="ep_poll"), LOOP, rings=frozenset((9,)))
    assert headline(polled) == f"{UNSEEN}: it is waiting for events, also of io_uring"


def test_of_a_poll_of_very_many_descriptors_the_first_are_known():
    """Also where those are left out, with -1 as their number."""
    many = tuple(Watched(1_000 + fd, True, False) for fd in range(MOST_FDS))
    for watched in (many, ()):
        diagnosis = explained(BLOCKED, replace(POLL, watched=watched, cut=True))
        assert headline(diagnosis) == (
            f"{UNSEEN}: it is waiting for events, on more than 4096 descriptors"
        )
    assert headline(explained(BLOCKED, replace(POLL, watched=many))).startswith(NOTHING)


@pytest.mark.parametrize("wchan", ["ib_uverbs_event_read.constprop.0", "ucma_get_event"])
def test_what_an_event_of_rdma_brings_is_not_known(wchan):
    """A completion is of the network; threads of libraries wait for errors of the device."""
    diagnosis = explained(replace(BLOCKED, wchan=wchan), READ)
    assert headline(diagnosis) == f"{UNSEEN}: it is waiting for an event of RDMA"


def test_what_a_fuse_file_system_waits_for_is_not_known():
    """sshfs waits for the network, ntfs-3g for a disk."""
    thread = replace(BLOCKED, wchan="request_wait_answer")
    assert headline(explained(thread)).startswith(
        f"{UNSEEN}: it is waiting for the program behind a FUSE file system"
    )
    diagnosis = explained(thread, READ, files={FD: File("fuse.sshfs", "host:/")})
    assert headline(diagnosis) == f"{UNSEEN}: it is in read on a file of host:/ (fuse.sshfs)"


@pytest.mark.parametrize(
    ("protocol", "answer"),
    [
        ("UNIX-STREAM", f"{NOTHING}: it is waiting on a local (unix) socket"),
        ("NETLINK", f"{NOTHING}: it is waiting on a netlink socket, which the kernel answers"),
        ("RAWv6", f"{UNSEEN}: it is in read on a raw socket (fd 7)"),
        ("SCTP", f"{UNSEEN}: it is in read on a SCTP socket (fd 7)"),
        ("MPTCP", f"{UNSEEN}: it is in read on a Multipath TCP socket (fd 7)"),
        ("TCPv6", f"{UNSEEN}: it is in read on a TCP socket that no dump shows (fd 7)"),
        ("", f"{UNSEEN}: it is in read on a socket of an unknown protocol (fd 7)"),
    ],
)
def test_a_socket_of_another_protocol_is_local_or_unknown(protocol, answer):
    other = Other(FD, INODE, protocol)
    thread = replace(BLOCKED, wchan="unix_stream_read_generic" if other.local else "wait_woken")
    assert headline(explained(thread, READ, others=(other,))) == answer
    diagnosis = explained(BLOCKED, LOOP, others=(other,))
    assert thread_activity(diagnosis, diagnosis.threads[0]).kind is (
        Kind.ELSE if other.local else Kind.UNSEEN
    )


@pytest.mark.parametrize("wchan", ["", "wait_woken", "ep_poll", "do_sys_poll"])
def test_a_call_that_may_not_be_read_may_be_about_any_socket(wchan):
    """Yama; where there is no socket, only a function without a name leaves it open."""
    thread = replace(BLOCKED, wchan=wchan, call_readable=False)
    call = Call(wchan, Role.EPOLL, (Watched(FD, True, False),))
    diagnosis = replace(
        IDLE, threads=(thread,), waiting={PID: call} if wchan else {}, tcp=(OPENED,)
    )
    assert headline(diagnosis).startswith(UNSEEN)
    diagnosis = replace(diagnosis, tcp=())
    assert headline(diagnosis).startswith(UNSEEN if not wchan else NOTHING)


def test_every_thread_has_to_be_seen_to_wait_for_something_else():
    """One of many is enough."""
    others = [replace(BLOCKED, tid=PID + n, wchan="futex_wait_queue") for n in range(1, 4)]
    diagnosis = explained(BLOCKED, READ, others=(Other(FD, INODE, "PING"),))
    diagnosis = replace(diagnosis, threads=(*diagnosis.threads, *others))
    assert headline(diagnosis) == f"{UNSEEN}: of its 4 threads 1 in read on an ICMP socket (fd 7)"
    assert headline(replace(diagnosis, threads=())) == f"{UNSEEN}: its threads may not be read"


def test_a_receive_where_nothing_is_late_is_no_denial():
    """Data move, or the request was a moment ago."""
    diagnosis = explained(BLOCKED, READ, tcp=(OPENED,))
    assert headline(diagnosis) == (
        "waiting on the network, where nothing is late: it is in read on fd 7 (10.0.0.7:5432)"
    )


def test_a_frozen_process_waits_for_its_cgroup():
    diagnosis = explained(BLOCKED, READ, tcp=(OPENED,), frozen=True)
    assert headline(diagnosis).startswith(f"{NOTHING}: its cgroup is frozen")


def test_the_file_system_of_a_descriptor_is_read_without_asking_it(tmp_path):
    folder = tmp_path / str(PID)
    (folder / "fdinfo").mkdir(parents=True)
    for fd, mount in ((3, 41), (5, 42), (7, 43)):
        (folder / f"fdinfo/{fd}").write_text(f"pos:\t0\nflags:\t02\nmnt_id:\t{mount}\nino:\t7\n")
    (folder / "mountinfo").write_text(
        "41 1 8:1 / / rw - ext4 /dev/sda rw\n"
        "42 41 0:50 / /home rw shared:1 - nfs4 server:/home rw\n"
        "43 41 0:51 / /mnt rw - fuse.sshfs host:/ rw\n"
    )
    assert distant_files(PID, (3, 5, 7, 9), tmp_path) == {
        5: File("nfs4", "server:/home"),
        7: File("fuse.sshfs", "host:/"),
    }


def test_the_file_system_of_a_mapped_file_is_read_from_its_device(tmp_path):
    """maps has it in hexadecimal, mountinfo in decimal."""
    folder = tmp_path / str(PID)
    folder.mkdir()
    (folder / "mountinfo").write_text(
        "41 1 8:1 / / rw - ext4 /dev/sda rw\n"
        "42 41 0:50 / /home rw shared:1 - nfs4 server:/home rw\n"
    )
    stack = "7ffe-7fff rw-p 00000000 00:00 0 [stack]\n1000\n"
    library = "1000-2000 r-xp 00000000 08:01 7 /lib/libc.so.6\n"
    (folder / "maps").write_text(library + stack)
    assert mapped_file(PID, tmp_path) is None
    (folder / "maps").write_text(library + "3000-4000 r--s 00000000 00:32 9 /home/a b\n" + stack)
    assert mapped_file(PID, tmp_path) == File("nfs4", "server:/home")
    assert mapped_file(PID + 1, tmp_path) is None
    assert mounted_file(PID, tmp_path) == File("nfs4", "server:/home")
    assert mounted_file(PID + 1, tmp_path) is None
