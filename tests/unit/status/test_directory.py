"""The sockets of probes: who may reach them, what is not followed, what is removed."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys

import pytest
from support.namespace import UNPRIVILEGED
from support.require import require
from support.status import fill

from xctl_probe.status import directory
from xctl_probe.status.directory import NoPlace
from xctl_probe.status.peer import peer_of

OTHER = UNPRIVILEGED
ENDED = "1009-0123456789abcdef"  # pid and token of a probe that was killed


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def opened(folder):
    fd = directory.open_to_listen(folder)
    yield fd
    os.close(fd)


def killed(folder, name):
    """What a killed probe leaves: a socket on which no process listens."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(folder / name))
    made.close()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_connect_whatever_the_umask(folder):
    before = os.umask(0)
    fd = directory.open_to_listen(folder)
    listener, name = directory.listen(fd)
    os.umask(before)
    assert (mode(folder), mode(folder / name)) == (0o700, 0o600)
    assert name.startswith(f"{os.getpid()}-")
    assert [one.name for one in folder.iterdir()] == [name]
    listener.close()
    os.close(fd)


def test_a_socket_in_a_deep_directory_is_reached(tmp_path):
    """The path is longer than an address of a unix socket."""
    deep = tmp_path / ("d" * 120)
    fd = directory.open_to_listen(deep)
    listener, name = directory.listen(fd)
    client = directory.connect(fd, name, os.geteuid())
    assert peer_of(client) == (os.getpid(), os.geteuid())
    for one in (client, listener):
        one.close()
    os.close(fd)


@pytest.mark.parametrize("others", [0o010, 0o002, 0o755])
def test_a_directory_that_others_may_enter_is_refused(folder, others):
    folder.mkdir()
    folder.chmod(0o700 | others)
    with pytest.raises(NoPlace, match="other users have access; chmod 700"):
        directory.open_to_listen(folder)
    assert mode(folder) == 0o700 | others


def test_a_symbolic_link_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoPlace, match="not a directory, or a symbolic link"):
        directory.open_to_listen(folder)


def test_a_file_is_refused(folder):
    folder.write_text("")
    with pytest.raises(NoPlace, match="not a directory, or a symbolic link"):
        directory.open_to_listen(folder)


def test_a_missing_parent_is_named(folder):
    with pytest.raises(NoPlace, match=r"run/below: No such file or directory; --status-dir names"):
        directory.open_to_listen(folder / "below")


def test_the_directory_of_another_user_is_refused(folder):
    require(os.geteuid() == 0, "only root makes directories of other users")
    folder.mkdir(mode=0o700)
    os.chown(folder, OTHER, OTHER)
    with pytest.raises(NoPlace, match="it belongs to another user"):
        directory.open_to_listen(folder)


def test_the_socket_of_a_killed_probe_is_removed_and_no_other(folder, opened):
    """Not that of a live one, not what has another name."""
    listener, live = directory.listen(opened)
    killed(folder, f"{ENDED}.sock")
    killed(folder, "other.sock")
    (folder / "4241-0123456789abcdef.sock").write_text("a file")
    directory.remove_remnants(opened)
    left = {one.name for one in folder.iterdir()}
    assert left == {live, "other.sock", "4241-0123456789abcdef.sock"}
    listener.close()


def test_a_new_socket_without_its_name_is_removed_when_it_is_old(folder, opened):
    """Another probe may be about to listen on it."""
    killed(folder, f".{ENDED}.new")
    directory.remove_remnants(opened)
    assert [one.name for one in folder.iterdir()] == [f".{ENDED}.new"]
    os.utime(folder / f".{ENDED}.new", (0, 0))
    directory.remove_remnants(opened)
    assert list(folder.iterdir()) == []


def test_a_probe_that_is_stopped_is_not_taken_for_a_killed_one(folder, opened):
    """Its queue of connections is full: the kernel refuses for another reason."""
    listener, name = directory.listen(opened)
    clients = fill(opened, name)
    assert len(clients) >= 8
    directory.remove_remnants(opened)
    assert [one.name for one in folder.iterdir()] == [name]
    for one in (*clients, listener):
        one.close()


def test_a_client_follows_no_symbolic_link(folder, opened, tmp_path):
    """Root would connect to the socket of another service."""
    elsewhere = socket.socket(socket.AF_UNIX)
    elsewhere.bind(str(tmp_path / "service"))
    elsewhere.listen()
    (folder / f"{ENDED}.sock").symlink_to(tmp_path / "service")
    with pytest.raises(PermissionError, match="is no socket"):
        directory.connect(opened, f"{ENDED}.sock", os.geteuid())
    elsewhere.close()


def test_a_client_connects_to_sockets_of_the_owner_only(folder, opened):
    listener, name = directory.listen(opened)
    with pytest.raises(PermissionError, match="is no socket of its directory's owner"):
        directory.connect(opened, name, os.geteuid() + 1)
    listener.close()


def test_a_directory_of_another_user_is_asked_by_root_only(folder):
    require(os.geteuid() == 0, "only root makes directories of other users")
    folder.mkdir(mode=0o755)
    os.chown(folder, OTHER, OTHER)
    os.close(directory.open_to_ask(folder))
    os.chown(folder, 1_009, 1_009)
    # By its descriptor: the path to it is closed to that user.
    fd = os.open(folder, os.O_RDONLY)
    code = (
        "import os, sys; from pathlib import Path;"
        "from xctl_probe.status import directory;"
        f"os.setresuid({OTHER}, {OTHER}, {OTHER});"
        f"directory._open = lambda _: {fd};"
        "directory.open_to_ask(Path('/run'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], pass_fds=(fd,), capture_output=True, text=True, check=False
    )
    os.close(fd)
    assert done.stderr.splitlines()[-1] == "PermissionError: /run belongs to another user"


def test_sockets_are_listed_by_pid_and_their_number_is_bounded(folder, opened):
    names = [f"{pid}-0123456789abcdef.sock" for pid in range(1, 102)]
    for name in (*names, ".hidden", "1-short.sock", "x-0123456789abcdef.sock"):
        (folder / name).touch()
    assert directory.sockets(opened) == names[:64]


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({}, 0, "/run/xctl-probe-network"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/xctl-probe-network"),
        ({"XDG_RUNTIME_DIR": "/run/user/23"}, 23, "/run/user/23/xctl-probe-network"),
        ({"RUNTIME_DIRECTORY": "/run/probe"}, 0, "/run/probe"),
        ({"RUNTIME_DIRECTORY": "/run/probe:/run/more"}, 23, "/run/probe"),
        ({"RUNTIME_DIRECTORY": "probe", "XDG_RUNTIME_DIR": "/r"}, 23, "/r/xctl-probe-network"),
    ],
)
def test_the_directory_is_that_of_the_unit_of_root_or_of_the_session(environ, uid, expected):
    assert str(directory.own_directory(environ, uid)) == expected


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "run"}])
def test_without_a_session_there_is_no_directory(environ, monkeypatch, tmp_path):
    """Nothing in /tmp, where any user may be first."""
    monkeypatch.setattr(directory, "_USERS", tmp_path)
    with pytest.raises(NoPlace, match="XDG_RUNTIME_DIR is not set; --status-dir names"):
        directory.own_directory(environ, 23)
    (tmp_path / "23").mkdir()
    assert directory.own_directory(environ, 23) == tmp_path / "23" / "xctl-probe-network"


def test_root_asks_the_sessions_of_all_users(monkeypatch, tmp_path):
    monkeypatch.setattr(directory, "_USERS", tmp_path)
    for name in ("23", "1009"):
        (tmp_path / name).mkdir()
    session = {"XDG_RUNTIME_DIR": str(tmp_path / "23")}
    of_root = {str(one) for one in directory.known_directories({}, 0)}
    system, below = "/run/xctl-probe-network", "xctl-probe-network"
    assert of_root == {system, f"{tmp_path}/23/{below}", f"{tmp_path}/1009/{below}"}
    of_user = [str(one) for one in directory.known_directories(session, 23)]
    assert of_user == [system, f"{tmp_path}/23/{below}"]


def test_check_finds_out_without_making_anything(folder, tmp_path):
    assert directory.unusable(folder) == ""
    assert not folder.exists()
    assert directory.unusable(tmp_path / "none/below") == f"{tmp_path / 'none'} cannot be written"
    folder.mkdir(mode=0o700)
    assert directory.unusable(folder) == ""
    folder.chmod(0o755)
    assert directory.unusable(folder) == f"{folder}: other users have access; chmod 700 {folder}"
    (tmp_path / "link").symlink_to(folder)
    assert directory.unusable(tmp_path / "link") == "not a directory, or a symbolic link"
