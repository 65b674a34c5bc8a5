"""The client: all probes at once, whatever they answer."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace

import pytest
from support.status import Answering, fill

from xctl_probe.status import client, directory
from xctl_probe.status.client import ask, find, results
from xctl_probe.status.peer import Peer

SOON_S = 0.3  # for probes that never answer
ENOUGH_S = 60.0


@pytest.fixture
def probe(tmp_path):
    """Start what answers with these bytes, each in a directory of its own."""
    made = []

    def start(answer):
        made.append(Answering(tmp_path / str(len(made)), answer))
        return tmp_path / str(len(made) - 1)

    yield start
    for one in made:
        one.close()


def test_all_answer_and_none_waits_for_another(probe):
    """In the order of the question, with the pid that the kernel names."""
    places = [probe(b'{"pid":1}\n'), probe(b'{"pid":2}\n')]
    replies = ask(find(places), "status", ENOUGH_S)
    assert [one.document for one in replies] == [{"pid": 1}, {"pid": 2}]
    assert {one.pid for one in replies} == {os.getpid()}
    assert {one.found.uid for one in replies} == {os.geteuid()}


def test_the_request_is_one_line(tmp_path):
    made = Answering(tmp_path / "d", b"{}\n")
    ask(find([tmp_path / "d"]), "stalls", ENOUGH_S)
    assert made.requests == [b"stalls\n"]
    made.close()


def test_a_large_answer_is_read_in_parts(probe):
    text = "x" * 1_000_003
    (reply,) = ask(find([probe(f'["{text}"]'.encode())]), "status", ENOUGH_S)
    assert reply.document == [text]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (None, f"does not answer within {SOON_S} s"),
        (b"", "closed the connection without an answer"),
        (b"pid 7\n", "answers with something else than JSON"),
        (b"[" * 4_099, "answers with something else than JSON"),
        (b'"\xff"', "answers with something else than JSON"),
    ],
)
def test_any_other_answer_is_a_failure(probe, answer, failure):
    (reply,) = ask(find([probe(answer)]), "status", SOON_S if answer is None else ENOUGH_S)
    assert (reply.document, reply.failure) == (None, failure)


def test_an_answer_without_an_end_is_bounded(probe):
    (reply,) = ask(find([probe(b"1" * (5 << 20))]), "status", ENOUGH_S)
    assert reply.failure == "answers with more than 4,096 KiB"


def test_a_probe_of_another_user_may_answer_less(probe, monkeypatch):
    longest, longer = probe(b"1" * (256 << 10)), probe(b"1" * ((256 << 10) + 1))
    found = find([longest, longer])
    other = SimpleNamespace(**vars(os) | {"geteuid": lambda: found[0].uid + 1})
    monkeypatch.setattr(client, "os", other)
    monkeypatch.setattr(client, "decoded", client.Reply)
    first, second = ask(found, "status", ENOUGH_S)
    assert (len(first.document), first.failure) == (256 << 10, "")
    assert (second.document, second.failure) == (None, "answers with more than 256 KiB")


def test_all_answers_together_are_bounded(probe, monkeypatch):
    """The probes of one user have half of that at most."""
    monkeypatch.setattr(client, "_MOST_BYTES", 3 << 20)
    places = [probe(b'"' + b"x" * 700_001 + b'"') for _ in range(5)]
    replies = ask(find(places), "status", ENOUGH_S)
    assert sum(len(one.document) for one in replies if not one.failure) <= 3 << 19
    failures = {one.failure for one in replies if one.failure}
    assert failures == {"answers with more than is left of 3 MiB for all probes"}


def test_an_answer_is_taken_before_others_are_complete(tmp_path):
    """The second is closed by whoever takes the first."""
    made = [Answering(tmp_path / name, answer) for name, answer in (("a", b"{}"), ("b", None))]

    def taken(reply):
        if not reply.failure:
            made[1].close()
        return reply.failure

    found = find([tmp_path / "b", tmp_path / "a"])
    closed = "closed the connection without an answer"
    assert results(found, "status", taken, ENOUGH_S) == [closed, ""]
    made[0].close()


def test_a_probe_that_is_gone_has_no_reply(probe, tmp_path):
    place = probe(b"{}")
    killed = socket.socket(socket.AF_UNIX)
    killed.bind(str(place / "1009-0123456789abcdef.sock"))
    killed.close()
    assert len(find([place])) == 2
    assert [one.document for one in ask(find([place]), "status", ENOUGH_S)] == [{}]


def test_a_probe_that_is_stopped_does_not_answer(tmp_path):
    """The kernel takes the first connections for it, and then none."""
    fd = directory.open_to_listen(tmp_path / "d")
    listener, name = directory.listen(fd)
    (reply,) = ask(find([tmp_path / "d"]), "status", SOON_S)
    assert reply.failure == f"does not answer within {SOON_S} s"
    clients = fill(fd, name)
    (reply,) = ask(find([tmp_path / "d"]), "status", SOON_S)
    assert reply.failure == f"does not answer within {SOON_S} s"
    for one in (*clients, listener):
        one.close()
    os.close(fd)


def test_a_listener_of_another_user_is_not_asked(tmp_path, monkeypatch):
    """As after a socket was passed on."""
    made = Answering(tmp_path / "d", b"{}")
    monkeypatch.setattr(client, "peer_of", lambda _: Peer(7, os.geteuid() + 1))
    (reply,) = ask(find([tmp_path / "d"]), "status", ENOUGH_S)
    assert reply.failure == "cannot be asked (another user listens there)"
    made.close()
    assert not any(made.requests)


def test_of_a_pid_that_is_not_visible_the_name_counts(tmp_path, monkeypatch):
    made = Answering(tmp_path / "d", b"{}")
    monkeypatch.setattr(client, "peer_of", lambda _: Peer(0, os.geteuid()))
    (reply,) = ask(find([tmp_path / "d"]), "status", ENOUGH_S)
    assert reply.pid == int(made.name.split("-")[0])
    made.close()


def test_what_leads_elsewhere_is_a_failure(tmp_path):
    fd = directory.open_to_listen(tmp_path / "d")
    (tmp_path / "d/1009-0123456789abcdef.sock").symlink_to("/run/service")
    (reply,) = ask(find([tmp_path / "d"]), "status", ENOUGH_S)
    assert reply.failure.startswith("cannot be asked (1009-0123456789abcdef.sock is no socket")
    os.close(fd)


def test_directories_that_are_not_there_have_no_probes(tmp_path):
    (tmp_path / "file").touch()
    assert find([tmp_path / "none", tmp_path / "file"]) == []


def test_the_number_of_probes_is_bounded(tmp_path):
    for number in range(7):
        folder = tmp_path / str(number)
        folder.mkdir()
        for pid in range(1, 64):
            (folder / f"{pid}-0123456789abcdef.sock").touch()
    assert len(find(tmp_path / str(number) for number in range(7))) == 256
