"""The command `check`: tries every source variant and prints the results."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from xctl_probe.commands.check.host import read_host
from xctl_probe.commands.check.kernel_features import load_is_refused, other_blockers
from xctl_probe.commands.check.probe_sources import (
    AUTO,
    Answer,
    ProbeResult,
    SourceVariant,
    probe_source,
    source_variants,
)
from xctl_probe.commands.check.remedies import remedies
from xctl_probe.commands.check.report import Checked, Row, to_json, to_text
from xctl_probe.config.choices import Backend, Format
from xctl_probe.config.settings import Settings
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.sources.privileges import SYMBOLS, features_of, give_up_others, held

_SETTINGS = Settings.checked({"format": Format.TEXT})


def run(stdout: int, *, as_json: bool) -> int:
    """Write the results; return the exit code, 0 when a source works, else 1."""
    checked = check()
    write_answer(stdout, to_json(checked) if as_json else to_text(checked))
    return 0 if checked.works else 1


def check() -> Checked:
    """Try every source variant, and the choice of `--backend auto`."""
    host, having = read_host(), held()
    with suppress(OSError):  # each source is tried as the stream opens it
        give_up_others((*features_of(_SETTINGS), SYMBOLS))
    rows = []
    for way in source_variants():
        outcome = probe_source(way, _SETTINGS)
        if way.backend is Backend.EBPF and not host.privileged and outcome.answer is Answer.NO:
            outcome = _unprivileged(way, outcome)
        rows.append(Row(way, outcome, tuple(remedies(way, outcome, host))))
    return Checked(tuple(rows), probe_source(AUTO, _SETTINGS), host, having)


def _unprivileged(way: SourceVariant, outcome: ProbeResult) -> ProbeResult:
    """Return the result of a trial without privileges: the loader checks them first."""
    outcome = replace(outcome, other_blockers=other_blockers(way.attach))
    if outcome.errno is None and load_is_refused():
        outcome = replace(outcome, errno="EPERM", call="bpf(BPF_PROG_LOAD)")
    return outcome
