"""sshd and ssh: an idle session that is kept alive, and one that asks.

As an ordinary user sshd lets in that user only, by PAM, for else it takes who has no password
for locked; and it needs no shell for its own sftp.  A request in that protocol is a packet;
draft-ietf-secsh-filexfer-02.
"""

from __future__ import annotations

import os
import pwd
import struct
import subprocess

from place import Place
from support.namespace import UNPRIVILEGED
from support.program import Program, children
from support.require import require_tools

CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""
INIT = struct.pack("!IBI", 5, 1, 3)
REALPATH = struct.pack("!IBII1s", 10, 16, 7, 1, b".")


class Openssh:
    """`asks` is an ssh that has asked before; `REALPATH` is a request, answered by a path."""

    def __init__(self, place: Place) -> None:
        require_tools("sshd", "ssh", "ssh-keygen")
        self._folder, self.port = place.own("ssh"), place.port()
        for name in ("host", "user"):
            words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._folder / name)
            subprocess.run([*place.namespace.command(), *map(str, words)], check=True)
        config = place.folder / "sshd_config"
        config.write_text(CONFIG.format(folder=self._folder, port=self.port))
        self.server = place.start("openssh: server", "/usr/sbin/sshd", "-D", "-e", "-f", config)
        place.wait_listening(self.port)
        self.asks = self._session(place, "openssh: session", 0)
        self._session(place, "openssh: kept alive", 1)

    def _session(self, place: Place, name: str, alive_s: int) -> Program:
        user = pwd.getpwuid(UNPRIVILEGED if os.geteuid() == 0 else os.geteuid()).pw_name
        options = (
            "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes",
            f"ServerAliveInterval={alive_s}", "ServerAliveCountMax=60",
        )  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        where = ("-F", "none", "-i", self._folder / "user", "-p", self.port, f"{user}@127.0.0.1")
        session = place.start(name, "ssh", *words, *where, "-s", "sftp")
        session.send(INIT)
        session.ask(REALPATH, "/")
        return session

    def workers(self) -> list[int]:
        """Holders of the server's sockets of the sessions: two generations of children."""
        monitors = children(self.server.pid)
        return [*monitors, *(pid for monitor in monitors for pid in children(monitor))]
