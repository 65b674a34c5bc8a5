"""The live screen on networks broken on purpose: typed at and read, in a real terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from support.conversation import ANSWER, QUESTION, answered, connected

MORE_THAN_BUFFERS = 20_000_003
KEYS = "q quit  enter why"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7])(?:;\d+)*m")


@pytest.fixture
def top(terminal, backend):
    """Start the screen on a source, and wait until it is drawn."""

    def start(*options, **more):
        words = (*backend.options, "--interval", "0.3", *options, "top")
        shown = terminal(*words, user=backend.user, **more)
        source = "ebpf" if backend.name == "ebpf" else "sample"  # what 40 columns have room for
        shown.wait_for(f"top: {source}")
        return shown

    return start


def test_a_hang_shows_is_opened_and_is_over(top, worker):
    """Whom it waits for, while it waits; why; and that it is over."""
    server, client, identity = connected(worker)
    remote = identity["remote"]
    screen = top("--pid", client.pid)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    screen.wait_for("WAITING 1", f"{client.pid} python3", f"for data from {remote} (no_reply)")
    screen.type("Down", "Enter")
    screen.wait_for(f"{client.pid} python3: waits for a reply from {remote}", "esc back")
    screen.type("Escape")
    screen.wait_for("WAITING 1")
    server.ask("send", ANSWER)
    client.expect("ask")
    screen.wait_for("WAITING 0, ended 1", "waited", "ended")
    screen.type("q")
    screen.wait_for("left with 0")


def test_a_stopped_peer_and_lost_packets_have_their_causes(top, worker, netns):
    """Both at once, each with its own."""
    server, sender, identity = connected(worker)
    reader = identity["remote"]
    _, asker, identity = connected(worker)
    remote = identity["remote"]
    netns.drop_incoming(f"tcp dport {remote.partition(':')[2]}")
    screen = top("--pid", sender.pid, "--pid", asker.pid)
    os.kill(server.pid, signal.SIGSTOP)
    sender.begin("send", MORE_THAN_BUFFERS)
    asker.begin("ask", QUESTION, ANSWER)
    screen.wait_for(
        "WAITING 2",
        f"to send to {reader} (peer_window)",
        f"for data from {remote} (loss)",
        f"{asker.pid} python3         RETRANSMIT",
    )


def test_whom_they_wait_for_is_listed_with_what_it_does(top, worker):
    """Two clients of a server that computes: no fault of the network."""
    server, *clients = (worker(comm=name) for name in (b"rank0", b"rank1", b"rank2"))
    port = server.ask("listen")["port"]
    for client in clients:
        client.connect("127.0.0.1", port)
        server.ask("accept")
        answered(server, client)
    screen = top("--reply-ms", 300)
    for client in clients:
        client.begin("ask", QUESTION, ANSWER)
    server.begin("compute", 60_000)
    screen.wait_for(
        *(f"{client.pid} rank{number}" for number, client in enumerate(clients, 1)),
        "WAITED FOR on this host ",
        f"{server.pid} rank0",
        "by 2 processes, for",
        "in all: running",
    )


def test_traffic_is_sorted_filtered_and_paused(top, worker):
    """By keys, and the title shows it."""
    server, client, _ = connected(worker, comm=b"uploader")
    screen = top()
    server.begin("drain")
    client.begin("drip", 100_003, 20, 1_009)
    screen.wait_for(f"{client.pid} uploader", f"{server.pid} python3", "Mbps")
    screen.type("s")
    screen.wait_for("by rx")
    screen.type("/", "u", "p", "l")
    screen.wait_for("filter by pid, name or interface: upl_", without=f"{server.pid} python3")
    screen.type("Enter")
    screen.wait_for("filter 'upl'", f"{client.pid} uploader")
    screen.type("p")
    frozen = screen.wait_for("PAUSED")
    subprocess.run(["sleep", "1"], check=True)  # three intervals in which nothing may change
    assert screen.screen() == frozen
    screen.type("p", "Escape")
    screen.wait_for(f"{server.pid} python3", without="PAUSED")


def test_any_size_and_a_resize(top, worker):
    """It draws what fits, and draws again when the window changes."""
    server, client, identity = connected(worker)
    remote = identity["remote"]
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    screen = top("--pid", client.pid, width=40, height=8)
    screen.wait_for("WAITING 1", f"{client.pid}", "q quit")
    screen.resize(120, 40)
    screen.wait_for(f"for data from {remote}", KEYS, "TRAFFIC")
    lines = screen.screen().splitlines()
    assert lines[39].startswith(KEYS)
    screen.resize(10, 3)
    screen.wait_for("q quit")
    screen.resize(100, 24)
    screen.wait_for(f"for data from {remote}", KEYS)


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_is_for_those_who_want_it(top, worker, no_color):
    """NO_COLOR leaves bold and reverse."""
    server, client, _ = connected(worker)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    screen = top("--pid", client.pid, **({"NO_COLOR": "1"} if no_color else {}))
    screen.wait_for("WAITING 1")
    assert bool(COLOUR.search(screen.screen(styled=True))) is not no_color


def test_a_hostile_name_draws_nothing(top, worker):
    """Escape sequences in a process's name are shown, not obeyed."""
    server, client, _ = connected(worker, comm=b"\x1b[2J\xe2\x80\xaeevil")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    screen = top("--pid", client.pid)
    screen.wait_for("WAITING 1", "\\x1b[2J", KEYS)


@pytest.mark.parametrize("how", ["q", "C-c", "SIGTERM"])
def test_it_leaves_the_terminal_as_it_was(top, terminal, how):
    """By key or by signal: exit code 0, the old screen, echo and cursor back."""
    screen = top()
    if how == "SIGTERM":
        (child,) = (
            Path(f"/proc/{screen.pane_pid()}/task/{screen.pane_pid()}/children").read_text().split()
        )
        os.kill(int(child), signal.SIGTERM)
    else:
        screen.type(how)
    screen.wait_for("left with 0", without="WAITING")
    screen.type("e", "c", "h", "o", "e", "d")
    screen.wait_for("echoed")


def test_without_a_terminal_it_reports_so(installed, netns):
    """One line, exit code 2."""
    words = [*netns.command(), str(installed.command), "top"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "top needs a terminal" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dumb_terminal_is_reported(terminal):
    """It cannot be drawn on."""
    screen = terminal("top", TERM="dumb")
    screen.wait_for("TERM is dumb", "left with 2")
