"""Calls that stay while data move: their bytes count as they move, once, and are no wait."""

from __future__ import annotations

import pytest

from xctl_probe.events import Cause, Direction

CONNECTION = """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
"""
PIECE = 100_003

WHOLE_BLOCK = (
    CONNECTION
    + f"""
def receive():
    client.sendall(b"q" * 7)
    assert len(client.recv({7 * PIECE}, socket.MSG_WAITALL)) == {7 * PIECE}
    done.set()
done = threading.Event()
step()
thread = threading.Thread(target=receive); thread.start()
exactly(server, 7)
"""
)


def test_a_block_that_is_received_whole_counts_as_it_comes(watch, actor):
    seen = watch()
    one = actor(
        WHOLE_BLOCK
        + f"""
step()
for _ in range(6): server.sendall(bytes({PIECE})); step()
server.sendall(bytes({PIECE})); done.wait(); step()
"""
    )
    one.go()
    seen.until(lambda: seen.received(one.pid) == 7)  # the question, of the server
    for pieces in range(1, 8):
        one.go()
        wanted = 7 + pieces * PIECE
        seen.until(lambda wanted=wanted: seen.received(one.pid) == wanted)
    seen.drain()
    assert seen.received(one.pid) == 7 + 7 * PIECE
    assert seen.sent(one.pid) == 7 + 7 * PIECE


def test_a_block_that_keeps_coming_is_no_wait(watch, actor):
    """It lasts for several times the least stall, and no piece is late."""
    seen = watch(stall_ns=200_000_000)
    one = actor(
        WHOLE_BLOCK
        + f"""
for _ in range(49): server.sendall(bytes({PIECE // 7})); time.sleep(0.02)
assert not done.is_set()
server.sendall(bytes({7 * PIECE - 49 * (PIECE // 7)})); done.wait()
step()
"""
    )
    one.start()
    seen.until(lambda: seen.received(one.pid) == 7 + 7 * PIECE)
    one.finish()
    seen.drain()
    assert seen.stalls(one.pid) == []


def test_a_block_whose_first_piece_is_late_was_waited_for_until_it_came(watch, actor):
    seen = watch()
    one = actor(
        WHOLE_BLOCK
        + f"""
step()
server.sendall(bytes({PIECE}))
step()
server.sendall(bytes({6 * PIECE})); done.wait()
step()
"""
    )
    one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert (ended.direction, ended.cause) == (Direction.RECEIVE, Cause.NO_REPLY)
    told = len(seen.stalls(one.pid))
    seen.until(lambda: seen.received(one.pid) == 7 + PIECE)
    one.go()
    seen.until(lambda: seen.received(one.pid) == 7 + 7 * PIECE)
    assert len(seen.stalls(one.pid)) == told


def test_what_a_call_moves_is_the_process_that_is_in_it(watch, actor):
    """It inherited the connection, and has done nothing on it before."""
    seen = watch()
    one = actor(
        CONNECTION
        + f"""
client.sendall(b"a" * 7); exactly(server, 7)
child = os.fork()
if not child:
    os._exit(len(server.recv({2 * PIECE}, socket.MSG_WAITALL)) != {2 * PIECE})
say(child)
client.sendall(bytes({PIECE})); step()
client.sendall(bytes({PIECE})); say(os.waitpid(child, 0)[1])
"""
    )
    child = one.said
    seen.drain()
    one.go()
    seen.until(lambda: seen.received(child) == PIECE)
    assert one.go() == 0
    seen.until(lambda: seen.received(child) == 2 * PIECE)
    seen.drain()
    assert (seen.received(child), seen.received(one.pid)) == (2 * PIECE, 7)


def test_a_large_send_counts_as_it_goes(watch, actor):
    """The receiver takes a part at each step; what was sent is never far ahead of it."""
    seen = watch()
    count, buffers = 23 * PIECE, 5 * PIECE
    one = actor(
        CONNECTION
        + f"""
client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, {PIECE})
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, {PIECE})
thread = threading.Thread(target=lambda: client.sendall(bytes({count})))
step()
thread.start()
for _ in range(22): exactly(server, {PIECE}); step()
exactly(server, {PIECE}); thread.join()
step()
"""
    )
    seen.drain()  # notes where the socket is before the call
    for parts in range(1, 23):
        one.go()
        got = parts * PIECE
        seen.until(lambda got=got: seen.received(one.pid) == got)
        seen.until(lambda got=got: seen.sent(one.pid) >= got)
        assert seen.sent(one.pid) <= got + buffers
    one.go()
    seen.until(lambda: seen.sent(one.pid) == count)
    seen.drain()
    assert (seen.sent(one.pid), seen.received(one.pid)) == (count, count)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_in_calls_on_one_socket_count_once(watch, actor, threads):
    """Some ask for much, some for little; together it is what was sent."""
    seen = watch()
    count = 29 * PIECE
    one = actor(
        CONNECTION
        + f"""
got = []
def receive(size):
    while part := server.recv(size, socket.MSG_WAITALL): got.append(len(part))
threads = [
    threading.Thread(target=receive, args=(size,))
    for size in (3 * {PIECE}, 1_009, {PIECE}, 997, 10_007)[:{threads}]
]
for thread in threads: thread.start()
step()
for _ in range(29): client.sendall(bytes({PIECE})); step()
client.shutdown(socket.SHUT_WR)
for thread in threads: thread.join()
say(sum(got))
"""
    )
    for _ in range(29):
        one.go()
        seen.source.poll(0)
        seen.drain()
    assert one.go() == count
    seen.until(lambda: seen.received(one.pid) == count)
    seen.drain()
    assert (seen.sent(one.pid), seen.received(one.pid)) == (count, count)
