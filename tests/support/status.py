"""A status whose every figure is another number, and a probe's answers without a probe."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from xctl_probe.figures import (
    IntervalFigures,
    MapFigures,
    ProgramFigures,
    RecordFigures,
    RingFigures,
    SourceFigures,
)
from xctl_probe.status import directory
from xctl_probe.status.document import ProcessFigures, Status

STATUS = Status(
    pid=4_241,
    uid=1_009,
    source="ebpf",
    choice="source ebpf (tracepoint: TCP and UDP by process, exact)",
    kernel="6.18.1 x86_64",
    started_ms=1_795_736_732_148,
    uptime_ms=7_949_000,
    intervals=IntervalFigures(1_000, 7_949, 3, 5, 1, 2_311, 11, 83, 307, 61_000),
    records=RecordFigures(120_331, 17, 29, 2, 1_013, 4_194_304, 59_000),
    stalls=19,
    process=ProcessFigures(6_700, 0.08, 24_117_248, 31_457_280, 2, 37),
    figures=SourceFigures(
        attach="tracepoint",
        rejected=("fentry: the kernel refuses BPF trampolines", "kprobe: this kernel has none"),
        features={"ring_buffer": True, "run_statistics": True, "links": False},
        attached=("sock_send_length", "sock_recv_length"),
        missing=("inet_sendpage",),
        refused=("tcp_sendmsg_locked",),
        ring=RingFigures(1_048_576, 352, 23_029),
        maps=(
            MapFigures("sockets", "sk_storage", None, None, 480),
            MapFigures("processes", "hash", 16_384, 53, None),
        ),
        programs=(
            ProgramFigures("on_send", 7, 1_000_003, 38_000_114),
            ProgramFigures("on_reset", 0, 0, 0),
        ),
        counts={"open_stalls": 19, "network_namespaces": 2},
    ),
    lost={"ring": 3, "waits": 1_013},
    lost_ago_ms=60_000,
)
WITHOUT_KERNEL = replace(
    STATUS,
    source="sampler",
    choice="source sampler (sock_diag: TCP by process; UDP only by interface)",
    figures=SourceFigures(features={"sock_diag": True}, counts={"sockets": 97}),
    lost={},
    lost_ago_ms=None,
)


def fill(opened: int, name: str) -> list[socket.socket]:
    """Connect until the kernel queues no more connections for a listener that takes none."""
    clients: list[socket.socket] = []
    with suppress(BlockingIOError):
        while True:
            clients.append(directory.connect(opened, name, os.fstat(opened).st_uid))
    return clients


class Answering:
    """Listens as a probe does, and answers each client with these bytes, or never (None)."""

    def __init__(self, folder: Path, answer: bytes | None) -> None:
        self._directory = directory.open_to_listen(folder)
        self.listener, self.name = directory.listen(self._directory)
        self.listener.setblocking(True)
        self.requests: list[bytes] = []
        self._answer = answer
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.requests.append(connection.recv(99))
            if self._answer is None:
                self._held.append(connection)
                continue
            with suppress(OSError):
                connection.sendall(self._answer)
            connection.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self.listener.close()
        for one in self._held:
            one.close()
        os.close(self._directory)
