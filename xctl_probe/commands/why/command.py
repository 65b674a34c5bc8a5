"""The command `why`: explains one process."""

from __future__ import annotations

import os

from xctl_probe.commands.why.diagnose import diagnose
from xctl_probe.commands.why.report import to_json, to_text
from xctl_probe.exporters.stdout import write_answer


def run(pid: int, stdout: int, *, as_json: bool, sock_diag: bool, stall_ms: int) -> None:
    """Write the explanation to `stdout`.  Raises UsageError where it is impossible."""
    diagnosis = diagnose(pid, sock_diag=sock_diag, stall_ms=stall_ms)
    width = os.get_terminal_size(stdout).columns if os.isatty(stdout) else None
    write_answer(stdout, to_json(diagnosis) if as_json else to_text(diagnosis, width or None))
