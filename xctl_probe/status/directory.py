"""The directory of the sockets of running probes, and what may be trusted in it.

It is opened once.  Sockets are reached through that descriptor and no symbolic link is followed,
so that another user can neither take their place nor lead a client elsewhere.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from xctl_probe.errors import ProbeError

_SYSTEM = Path("/run/xctl-probe-network")
_USERS = Path("/run/user")  # pam_systemd(8)
_NAME = _SYSTEM.name
# The token keeps probes of several pid namespaces apart, where they share the directory.
_SOCKET = re.compile(r"([0-9]{1,10})-[0-9a-f]{16}\.sock")
_NEW = re.compile(r"\.[0-9]{1,10}-[0-9a-f]{16}\.new")
_NEW_S = 60  # after which a socket whose probe was killed between two calls is removed
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOST_USERS = 4_096
_MOST_ENTRIES = 1_024  # of a directory
_MOST_SOCKETS = 64  # of a directory
_BACKLOG = 8


class NoPlace(ProbeError):
    """There is no directory for the socket; the text names the reason and the remedy."""


def own_directory(environ: Mapping[str, str], uid: int) -> Path:
    """Return the directory for probes of this user.  Raises NoPlace where there is none.

    RUNTIME_DIRECTORY is that of a unit (RuntimeDirectory=, systemd.exec(5)), XDG_RUNTIME_DIR that
    of a session.
    """
    of_unit = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if os.path.isabs(of_unit):
        return Path(of_unit)
    if uid == 0:
        return _SYSTEM
    of_session = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(of_session):
        return Path(of_session) / _NAME
    if (_USERS / str(uid)).is_dir():
        return _USERS / str(uid) / _NAME
    raise NoPlace("XDG_RUNTIME_DIR is not set; --status-dir names a directory for the socket")


def own_directories(environ: Mapping[str, str], uid: int) -> list[Path]:
    """Return the directories in which a service, root and this user have their probes."""
    found = [_SYSTEM]
    with suppress(NoPlace):
        found.append(own_directory(environ, uid))
    return list(dict.fromkeys(found))


def known_directories(environ: Mapping[str, str], uid: int) -> list[Path]:
    """Return the directories in which probes may be that this user may ask; root: all users'.

    The session directories of other users are found where systemd makes them, /run/user.
    """
    found = own_directories(environ, uid)
    if uid == 0:
        with suppress(OSError), os.scandir(_USERS) as entries:
            for entry, _ in zip(entries, range(_MOST_USERS), strict=False):
                found.append(_USERS / entry.name / _NAME)
    return list(dict.fromkeys(found))


def open_to_listen(path: Path) -> int:
    """Return a descriptor of the directory, which is made where it is missing.

    Raises NoPlace where it cannot be made, or where it is not ours alone.
    """
    try:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        return _open_own(path)
    except (OSError, ValueError) as error:
        raise NoPlace(f"{path}: {_reason(error)}; --status-dir names another directory") from None


def unusable(path: Path) -> str:
    """Return why no socket can be made there, empty where one can.  Makes nothing."""
    try:
        os.close(_open_own(path))
    except FileNotFoundError:
        writable = os.access(path.parent, os.W_OK | os.X_OK)
        return "" if writable else f"{path.parent} cannot be written"
    except NoPlace as error:
        return str(error)
    except OSError as error:
        return _reason(error)
    return ""


def _open_own(path: Path) -> int:
    """Return a descriptor of a directory that is ours alone.  Raises OSError, NoPlace."""
    fd = _open(path)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise NoPlace(f"{path}: it belongs to another user; --status-dir names another")
        if status.st_mode & _OTHERS:
            raise NoPlace(f"{path}: other users have access; chmod 700 {path}")
    except BaseException:
        os.close(fd)
        raise
    return fd


def listen(directory: int) -> tuple[socket.socket, str]:
    """Return a new listening socket of this process, and its name.  Raises OSError.

    It listens before it has its name: what is found under a name and refuses is a remnant.
    """
    token = f"{os.getpid()}-{os.urandom(8).hex()}"
    new, name = f".{token}.new", f"{token}.sock"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # bind(2) takes the mode from the descriptor (unix_bind_bsd() in net/unix/af_unix.c):
        # at no time may other users connect.
        os.fchmod(made.fileno(), 0o600)
        made.bind(_within(directory, new))
        try:
            made.listen(_BACKLOG)
            os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            remove(directory, new)
            raise
    except BaseException:
        made.close()
        raise
    return made, name


def remove(directory: int, name: str) -> None:
    """Remove a socket, which may be gone already."""
    with suppress(OSError):
        os.unlink(name, dir_fd=directory)


def remove_remnants(directory: int) -> None:
    """Remove the sockets of probes that were killed: they refuse a connection."""
    for name in _entries(directory):
        known = _SOCKET.fullmatch(name) or (_NEW.fullmatch(name) and _is_old(directory, name))
        # The name is never used again, so that no probe can take its place in between.
        if known and _refuses(directory, name):
            remove(directory, name)


def open_to_ask(path: Path) -> int:
    """Return a descriptor of the directory.

    Raises OSError where there is none, or where this user may not read it; PermissionError where
    it belongs to another user than this one, and this one is not root.
    """
    fd = _open(path)
    if os.geteuid() not in (0, os.fstat(fd).st_uid):
        os.close(fd)
        raise PermissionError(f"{path} belongs to another user")
    return fd


def sockets(directory: int) -> list[str]:
    """Return the names of the sockets, those of the lowest pids first; a bounded number."""
    found = [name for name in _entries(directory) if _SOCKET.fullmatch(name)]
    return sorted(found, key=lambda name: int(name.split("-")[0]))[:_MOST_SOCKETS]


def connect(directory: int, name: str, owner: int) -> socket.socket:
    """Return a connection to a socket of this owner, without waiting.

    Raises OSError, ConnectionRefusedError where the probe is gone, PermissionError where the name
    leads to something else.
    """
    # Neither a symbolic link, nor what takes its place after the check.
    path = os.open(name, _OPEN | os.O_PATH, dir_fd=directory)
    try:
        status = os.fstat(path)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != owner:
            raise PermissionError(f"{name} is no socket of its directory's owner")
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            made.connect(f"/proc/self/fd/{path}")
        except BaseException:
            made.close()
            raise
        return made
    finally:
        os.close(path)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ELOOP):
        return "not a directory, or a symbolic link"
    return getattr(error, "strerror", None) or str(error)


def _within(directory: int, name: str) -> str:
    """Return a path below an open directory: short enough for any directory (unix(7): 108)."""
    return f"/proc/self/fd/{directory}/{name}"


def _open(path: Path) -> int:
    return os.open(path, _OPEN | os.O_RDONLY | os.O_DIRECTORY)


def _entries(directory: int) -> Iterator[str]:
    with suppress(OSError), os.scandir(directory) as entries:
        for entry, _ in zip(entries, range(_MOST_ENTRIES), strict=False):
            yield entry.name


def _refuses(directory: int, name: str) -> bool:
    try:
        connect(directory, name, os.geteuid()).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _is_old(directory: int, name: str) -> bool:
    with suppress(OSError):
        made_s = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
        return abs(time.time() - made_s) > _NEW_S
    return False
