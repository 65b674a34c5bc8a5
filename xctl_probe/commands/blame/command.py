"""The command `blame`: whom stalled processes wait for, in the end."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from xctl_probe.commands.blame.collect import check_pid, collect
from xctl_probe.commands.blame.jobs import check_job
from xctl_probe.commands.blame.rdma import RdmaSampler
from xctl_probe.commands.blame.report import to_json, to_text
from xctl_probe.commands.blame.samples import sample, with_running
from xctl_probe.commands.running import running_stalls
from xctl_probe.commands.why.equals.sample import sample_equals
from xctl_probe.config.settings import Settings
from xctl_probe.exporters.stdout import write_answer

_NS_PER_MS = 1_000_000


def run(
    settings: Settings, stdout: int, *, pid: int | None, job: str | None, as_json: bool
) -> None:
    """Write the answer to `stdout`.

    Raises UsageError for a pid that is invalid, gone or unreadable, and for a job without a visible
    process; SourceUnavailable where no source works.
    """
    if pid is not None:
        check_pid(pid)
    if job is not None:
        check_job(job)
    with ThreadPoolExecutor(1) as pool:
        equals = pool.submit(sample_equals)  # in the time of the other samples
        rdma = RdmaSampler()
        sampled = sample(settings)
        running = [record.stall for record in running_stalls(settings.status_dir)]
        if running:
            stalls = with_running(sampled.stalls, running)
            sampled = replace(sampled, stalls=stalls, source=f"{sampled.source}, running probe")
        stall_ms = settings.stall_ns // _NS_PER_MS
        collected = collect(
            sampled, rdma.result(), pid=pid, job=job, stall_ms=stall_ms, equals=equals.result
        )
    subject = f"process {pid}" if pid is not None else None
    if job is not None and subject is None:
        subject = f"job {job}"
    width = os.get_terminal_size(stdout).columns if os.isatty(stdout) else None
    answer = to_json(collected, subject) if as_json else to_text(collected, subject, width or None)
    write_answer(stdout, answer)
