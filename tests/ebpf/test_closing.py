"""close() with SO_LINGER, which waits until the peer has acknowledged everything."""

from __future__ import annotations

import pytest

from xctl_probe.events import Cause, Direction

MS = 1_000_000
ONCE_MORE_MS = 60  # a drain and the pause before it

LINGERING = """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
def fill():
    client.setblocking(False)
    try:
        while True: client.send(bytes(65536))
    except BlockingIOError: pass
    client.setblocking(True)
def linger(seconds):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
def close():
    begin = time.monotonic(); client.close(); took.append(time.monotonic() - begin)
took = []
"""


def closing(seen, pid):
    return seen.stalls(pid, direction=Direction.SEND, ongoing=True)


def ended(seen, pid):
    return seen.stalls(pid, direction=Direction.SEND, ongoing=False)


@pytest.mark.parametrize("shut_down", [False, True])
def test_a_close_waits_until_the_peer_has_read(watch, actor, shut_down):
    """Also where the sending side was shut down before."""
    seen = watch()
    one = actor(
        LINGERING
        + f"""
fill(); linger(60)
step()
inode = os.fstat(client.fileno()).st_ino
if {shut_down}: client.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=close); thread.start()
say((inode, thread.native_id))
while server.recv(65536): pass
thread.join(); say(took[0])
"""
    )
    inode, tid = one.go()
    seen.until(lambda: len(closing(seen, one.pid)) >= 3)
    last = closing(seen, one.pid)[-1]
    assert (last.socket.inode, last.tid) == (inode, tid)
    assert last.cause in (Cause.PEER_WINDOW, None)  # the window may not be full yet at the close
    took_ms = one.go() * 1000
    seen.until(lambda: [s for s in ended(seen, one.pid) if s.tid == tid])
    seen.drain()
    (end,) = [s for s in ended(seen, one.pid) if s.tid == tid]
    assert end.duration_ns / MS == pytest.approx(took_ms, abs=ONCE_MORE_MS)
    told = len(closing(seen, one.pid))
    seen.drain()
    assert len(closing(seen, one.pid)) == told


def test_a_close_whose_patience_ends_was_a_stall_until_then(watch, actor):
    seen = watch()
    one = actor(
        LINGERING
        + """
fill(); linger(1)
step()
close(); say(took[0])
"""
    )
    one.start()
    seen.until(lambda: closing(seen, one.pid))
    seen.until(lambda: [s for s in ended(seen, one.pid) if s.tid == one.pid])
    took_ms = one.finish() * 1000
    (end,) = [s for s in ended(seen, one.pid) if s.tid == one.pid]
    assert end.duration_ns / MS == pytest.approx(took_ms, abs=ONCE_MORE_MS)


def test_a_close_that_leaves_the_rest_to_the_kernel_waits_for_nothing(watch, actor):
    """Without SO_LINGER, by SHUT_RDWR, or with nothing left to acknowledge."""
    seen = watch()
    one = actor(
        LINGERING
        + """
step()
fill(); linger(60); client.shutdown(socket.SHUT_RDWR)
step()
"""
    )
    two = actor(
        LINGERING
        + """
step()
fill(); client.close()
step()
"""
    )
    for actor_ in (one, two):
        actor_.go()
    seen.until(lambda: seen.sent(one.pid) and seen.sent(two.pid))
    seen.for_s(0.5)
    for actor_ in (one, two):
        assert [s for s in closing(seen, actor_.pid) if s.tid] == []
