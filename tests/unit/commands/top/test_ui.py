"""What keys change, how the list is ordered and filtered, and the lines for any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.commands.top.keys import names
from xctl_probe.commands.top.model import (
    Failed,
    QueuePairs,
    Rates,
    Stalled,
    View,
    WaitedFor,
)
from xctl_probe.commands.top.screen import draw
from xctl_probe.commands.top.ui import Mode, Sort, Ui, on_key, shown
from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs
from xctl_probe.events import Cause, Direction, PeerActivity

S = 1_000_000_000
WAITS = Stalled(
    "socket-1", 233, "client", "eth0", Direction.RECEIVE, Cause.NO_REPLY, "10.0.0.7:5432", 12_400,
    True, 90 * S,
)  # fmt: skip
ENDED = replace(
    WAITS, entity="socket-2", pid=239, comm="web", interface="lo", ongoing=False, seen_ns=87 * S
)
VIEW = View(
    90 * S,
    (Rates(None, "", "eth0", 12.0, 3.0, 90 * S),),
    (
        Rates(233, "client", "eth0", 1.0, 2.0, 90 * S),
        Rates(239, "web", "lo", 7.0, 1.0, 90 * S),
        Rates(241, "backup", "eth1", 0.5, 9.0, 90 * S),
    ),
    (WAITS, ENDED),
    (Failed("socket-1", 233, "client", "eth0", "RETRANSMIT", 7, "10.0.0.7:5432", 88 * S),),
)
KEYS = [
    "q", "p", " ", "s", "r", "/", "?", "h", "j", "k", "x", "enter", "escape", "up", "down", "left",
    "page-up", "page-down", "home", "end", "backspace",
]  # fmt: skip


def after(*keys, ui=None, view=VIEW):
    """The choices after these keys."""
    ui = ui or Ui()
    for key in keys:
        ui = on_key(ui, key, shown(view, ui))
    return ui


def text(ui=None, width=100, height=24, view=VIEW, why=()):
    return [line.text for line in draw(view, ui or Ui(), width, height, title="top", why=why)]


def pids(ui):
    return [process.pid for process in shown(VIEW, ui).processes]


@pytest.mark.parametrize(
    ("times", "sort", "order"),
    [
        (0, Sort.TOTAL, [241, 239, 233]),
        (1, Sort.RECEIVED, [239, 233, 241]),
        (2, Sort.SENT, [241, 233, 239]),
        (3, Sort.PID, [233, 239, 241]),
        (4, Sort.NAME, [241, 233, 239]),
        (5, Sort.TOTAL, [241, 239, 233]),
    ],
)
def test_s_goes_through_the_orders(times, sort, order):
    """And r turns each round."""
    ui = after(*["s"] * times)
    assert ui.sort is sort
    assert pids(ui) == order
    assert pids(after("r", ui=ui)) == order[::-1]


@pytest.mark.parametrize(
    ("typed", "found"),
    [("233", [233]), ("ETH", [241, 233]), ("eb", [239]), ("23", []), ("nothing", [])],
)
def test_the_filter_takes_a_pid_a_name_or_an_interface(typed, found):
    """A pid as a whole, the others in part; it holds for stalls and errors, too."""
    ui = after("/", *typed, "enter")
    assert (ui.mode, ui.filter) == (Mode.LIST, typed)
    assert pids(ui) == found
    rows = shown(VIEW, ui)
    assert {row.pid for row in (*rows.stalls, *rows.errors)} <= {*found}


def test_the_filter_can_be_corrected_and_given_up():
    """While it is typed, q and s are letters."""
    assert after("/", "q", "s", "backspace", "enter").filter == "q"
    assert after("/", "q", "escape") == Ui()
    assert after("/", "q", "enter", "escape").filter == ""


def test_the_choice_moves_and_stays_within_the_list():
    """Stalls first, then processes."""
    assert after("down").selected[1] == 233
    assert after("down", "down").selected[1] == 239
    assert after("down", "up", "up").selected[1] == 233
    assert after("end").selected == ("process", 233, "eth0")
    assert after("end", "down").selected == ("process", 233, "eth0")
    assert after("page-down", "page-down").selected == ("process", 233, "eth0")


def test_the_choice_follows_its_line_when_the_order_changes():
    """It is the process that was chosen, not the row."""
    ui = after("end", "s", "s", "s")
    assert ui.selected == ("process", 233, "eth0")
    marked = [line for line in draw(VIEW, ui, 100, 24, title="top") if line.style == "selected"]
    assert len(marked) == 1
    assert "233 client          eth0" in marked[0].text


def test_enter_opens_the_process_of_the_line():
    """The first one where none was chosen; escape goes back."""
    assert after("enter").why_pid == 233
    ui = after("down", "down", "enter")
    assert (ui.mode, ui.why_pid) == (Mode.WHY, 239)
    assert after("escape", ui=ui).mode is Mode.LIST
    assert not after("q", ui=ui).quit


def test_what_cannot_be_opened_is_shown():
    """No process at all, or one that is not ours to see."""
    assert "no process" in after("enter", view=View(0)).message
    stranger = replace(VIEW, stalls=(replace(WAITS, pid=None),))
    ui = after("enter", view=stranger)
    assert "run as root" in ui.message
    assert any("run as root" in line for line in text(ui, view=stranger))


def test_the_screen_names_what_there_is():
    """Who waits for whom, for how long and why; who moves what; what failed."""
    lines = "\n".join(text())
    assert "WAITING 1, ended 1" in lines
    assert "233 client          waits      12.4 s for data from 10.0.0.7:5432 (no_reply)" in lines
    assert "waited     12.4 s for data from 10.0.0.7:5432 (no_reply), ended 3 s ago" in lines
    assert "241 backup          eth1       rx      0.50 tx      9.00 Mbps" in lines
    assert "233 client          RETRANSMIT 7  10.0.0.7:5432, 2 s ago" in lines
    assert "eth0 rx 12.0 tx 3.0 Mbps" in lines


TRAINS = QueuePairs(251, "nccl", DeviceQueuePairs("mlx5_0", moving=3, still=2, others=1))
FAILED = QueuePairs(257, "nccl", DeviceQueuePairs("mlx5_1", failed=4))
RDMA = replace(VIEW, queue_pairs=(TRAINS, FAILED))


def test_queue_pairs_have_a_line_for_each_process_and_device():
    """Failed ones first, and marked as errors are; the errors of the last minute are below."""
    lines = draw(RDMA, Ui(), 100, 24, title="top")
    at = next(n for n, line in enumerate(lines) if line.text.startswith("RDMA queue pairs -"))
    assert lines[at + 1 : at + 3] == [
        ("    257 nccl            mlx5_1     4 failed", "error"),
        (
            "    251 nccl            mlx5_0     "
            "3 moving packets, 2 idle or stalled, 1 not known to move",
            "",
        ),
    ]
    assert any(line.text.startswith("ERRORS") for line in lines[at + 3 :])


def test_queue_pairs_are_chosen_and_filtered_as_processes_are():
    """By name, pid and device."""
    ui = after("end", "enter", view=RDMA)
    assert (ui.mode, ui.selected, ui.why_pid) == (Mode.WHY, ("queue pairs", 251, "mlx5_0"), 251)
    for typed, found in (("NCCL", [257, 251]), ("251", [251]), ("5_1", [257]), ("eth0", [])):
        pairs = shown(RDMA, after("/", *typed, "enter", view=RDMA)).queue_pairs
        assert [row.pid for row in pairs] == found


def test_many_queue_pairs_leave_room_for_the_others():
    """A quarter of the screen, and the chosen one is among them."""
    many = tuple(replace(TRAINS, pid=n) for n in range(300, 400))
    view = replace(RDMA, queue_pairs=many)
    lines = draw(view, after("end", view=view), 100, 24, title="top")
    assert [line.text.split()[0] for line in lines if line.style == "selected"] == ["399"]
    assert sum("mlx5_0" in line.text for line in lines) == 4
    assert any("RDMA queue pairs (96 more)" in line.text for line in lines)
    assert any("backup" in line.text for line in lines)


def test_pause_filter_and_order_are_in_the_title():
    """So that a user knows why nothing moves or is missing."""
    title = text(after("p", "/", "w", "enter", "r"))[0]
    assert title.endswith("PAUSED  filter 'w'  by total, reversed")


@given(
    st.integers(1, 250),
    st.integers(1, 70),
    st.lists(st.sampled_from(KEYS), max_size=12),
    st.integers(0, 60),
)
def test_any_size_any_keys_any_load_fill_the_screen_exactly(width, height, keys, load):
    """As many lines as the terminal has, none too long, nothing that a terminal obeys."""
    many = replace(
        VIEW,
        stalls=tuple(replace(WAITS, entity=str(n), comm="\x1b[2J\u202e") for n in range(load)),
        processes=tuple(Rates(n, "p", "eth0", n, n, 0) for n in range(1, load)),
        errors=VIEW.errors * load,
        queue_pairs=(TRAINS,) * (load // 3),
    )
    ui = after(*keys, view=many)
    lines = text(ui, width, height, many, ["why " * 90] * load)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    assert all(" " <= c <= "~" for line in lines for c in line)


def test_the_chosen_line_is_on_the_screen_however_long_the_list():
    """It scrolls along."""
    processes = tuple(Rates(n, "p", "eth0", 300 - n, 0, 0) for n in range(1, 300))
    view = replace(VIEW, processes=processes)
    ui = after("end", view=view)
    lines = draw(view, ui, 100, 24, title="top")
    assert [line.text.split()[0] for line in lines if line.style == "selected"] == ["299"]


def test_what_has_ended_leaves_room_for_what_moves():
    """What runs does not give way."""
    ended = tuple(replace(ENDED, entity=str(n), seen_ns=n) for n in range(50))
    processes = tuple(Rates(n, "p", "eth0", 1, 0, 0) for n in range(1, 50))
    view = replace(VIEW, stalls=(WAITS, *ended), processes=processes)
    lines = text(view=view, height=40)
    assert 8 <= sum(" waited " in line for line in lines) <= 14
    assert sum("rx" in line for line in lines) >= 15
    running = tuple(replace(WAITS, entity=str(n)) for n in range(25))
    lines = text(view=replace(view, stalls=(*running, *ended)), height=40)
    assert sum(" waits " in line for line in lines) == 25


def test_a_long_explanation_is_folded_and_scrolled():
    """Nothing of it is out of reach."""
    why = [f"line {n} " + "word " * 30 for n in range(40)]
    ui = Ui(mode=Mode.WHY, why_pid=233)
    assert text(ui, 60, 12, why=why)[1].startswith("line 0 word")
    assert all(len(line) <= 60 for line in text(ui, 60, 12, why=why))
    for _ in range(40):
        ui = after("page-down", ui=ui)
    assert any(line.startswith("line 39") for line in text(ui, 60, 12, why=why))


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB\x1b[5~", ["up", "down", "page-up"]),
        (b"\x1b", ["escape"]),
        (b"/lo\r", ["/", "l", "o", "enter"]),
        (b"\x1b[15~x", ["x"]),  # F5: unknown, and not taken for its parts
        (b"\x1b[1;5Cx", ["x"]),
        (b"\x7f\x03", ["backspace", "ctrl-c"]),
        ("\u00fc".encode(), []),
        (b"\x1b[", []),
    ],
)
def test_bytes_are_keys(data, keys):
    """As the common terminals send them."""
    assert names(data) == keys


@given(st.binary(max_size=40))
def test_no_bytes_break_the_keyboard(data):
    """Somebody leans on it, or pastes."""
    ui = Ui()
    for key in names(data):
        ui = on_key(ui, key, shown(VIEW, ui))
    assert isinstance(ui, Ui)


PEERS = (
    WaitedFor(3, "rank2", PeerActivity.RUNNING, 3, 4, 41_200),
    WaitedFor(5, "db", None, 0, 1, 1_009),
)


def test_whom_others_wait_for_can_be_asked_why():
    view = replace(VIEW, waited_for=PEERS)
    lines = text(view=view)
    at = next(i for i, line in enumerate(lines) if line.startswith("WAITED FOR"))
    assert lines[at + 1 : at + 3] == [
        "      3 rank2           by 3 processes, for 41.2 s in all: running",
        "      5 db              by 1 process, ended, for 1.0 s in all: not known what it does",
    ]
    assert after("down", "down", "down", "enter", view=view).why_pid == 3
    assert [one.pid for one in shown(view, Ui(filter="DB")).waited_for] == [5]


@given(st.integers(0, 12), st.integers(1, 30), st.integers(0, 7))
def test_no_list_takes_all_of_the_screen(stalls, height, peers):
    view = replace(
        VIEW,
        stalls=tuple(replace(WAITS, entity=f"socket-{n}") for n in range(stalls)),
        waited_for=tuple(replace(PEERS[0], pid=n + 1) for n in range(peers)),
    )
    lines = text(view=view, height=height)
    assert len(lines) == height
    assert any("TRAFFIC" in line for line in lines) or height < 12
