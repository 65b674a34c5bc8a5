"""The command `why`: explains one process."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from xctl_probe.commands.running import running_stalls
from xctl_probe.commands.why.access import has_ended
from xctl_probe.commands.why.explain import explain
from xctl_probe.commands.why.report import to_json, to_text
from xctl_probe.errors import UsageError
from xctl_probe.exporters.stdout import write_answer


def run(
    pid: int,
    stdout: int,
    *,
    as_json: bool,
    sock_diag: bool,
    stall_ms: int,
    record: str | None,
    status_dir: str | None,
) -> None:
    """Write the explanation to `stdout`; `record` is the directory of the recording, if any.

    `status_dir` is the directory of the socket of a running probe, None for the default ones.

    Raises UsageError where it is impossible.
    """
    try:
        reported = running_stalls(Path(status_dir) if status_dir is not None else None)
        diagnosis = explain(pid, reported, sock_diag=sock_diag, stall_ms=stall_ms)
    except UsageError as error:
        if pid <= 0 or not has_ended(pid):
            raise
        directory = "DIR" if record is None else shlex.quote(record)
        recall = f"xctl-probe-network --record {directory} why {pid} --since 1h"
        raise UsageError(f"{error}; of one that has exited: {recall}") from None
    width = os.get_terminal_size(stdout).columns if os.isatty(stdout) else None
    write_answer(stdout, to_json(diagnosis) if as_json else to_text(diagnosis, width or None))
