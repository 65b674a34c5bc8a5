"""Opens every source variant for real, each in a child process.

A loader that crashes or hangs gives the result *unknown*.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import NoReturn

from xctl_probe.config.choices import Attach, Backend
from xctl_probe.config.settings import Settings
from xctl_probe.errors import SourceUnavailable
from xctl_probe.events import Source
from xctl_probe.fallback.sock_diag import SockDiag
from xctl_probe.sources.select import open_source

SOCK_DIAG, PROC_NET = "sampler sock_diag", "sampler /proc/net"
LONGEST_S = 60.0  # bcc compiles
_MS_PER_S = 1_000
# No evidence about the source: short of memory or descriptors, or a race.
_PASSING = {
    errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EBUSY,
}  # fmt: skip


class Answer(StrEnum):
    """Result of a trial."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SourceVariant:
    """A source and its attach variant; `name` is its key in blind_spots.BLIND_SPOTS."""

    name: str
    backend: Backend
    attach: Attach = Attach.AUTO
    sock_diag: bool = True


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Result of a trial.  `call` is the call that was refused with `errno` (its name)."""

    answer: Answer
    reason: str
    errno: str | None = None
    call: str | None = None
    source: str | None = None  # name of the variant in use, where it works
    other_blockers: str | None = None  # without privileges: what else is missing
    hooks: Mapping[str, Sequence[str]] | None = None  # as in ebpf.programs.Hooks


AUTO = SourceVariant("auto", Backend.AUTO)


def source_variants() -> list[SourceVariant]:
    """Return all variants, best first, from the enumerations of the options."""
    return [
        *(SourceVariant(f"ebpf {a}", Backend.EBPF, a) for a in Attach if a is not Attach.AUTO),
        SourceVariant("bcc", Backend.BCC),
        SourceVariant(SOCK_DIAG, Backend.SAMPLER),
        SourceVariant(PROC_NET, Backend.SAMPLER, sock_diag=False),
    ]


def probe_source(
    way: SourceVariant, settings: Settings, longest_s: float = LONGEST_S
) -> ProbeResult:
    """Open a source, read it once and close it, in a child process."""
    wanted = replace(settings, backend=way.backend, attach=way.attach, sock_diag=way.sock_diag)
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _in_child(lambda: _open(way, wanted), writable)
    os.close(writable)
    try:
        output, ended = _read(readable, longest_s)
    finally:
        os.close(readable)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ended:
        return ProbeResult(Answer.UNKNOWN, f"no answer within {longest_s:.0f} s")
    try:
        found = json.loads(output)
    except ValueError:
        number = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-number).name if number < 0 else f"exit code {number}"
        return ProbeResult(Answer.UNKNOWN, f"trying it ended with {how}")
    return ProbeResult(Answer(found.pop("answer")), **found)


def _in_child(work: Callable[[], ProbeResult], result: int) -> NoReturn:
    """Run `work`, write its result, and exit without the clean-up of the parent."""
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (1, 2):  # compilers print
            os.dup2(nowhere, fd)
        os.write(result, json.dumps(asdict(work())).encode())
    finally:
        os._exit(0)


def _open(way: SourceVariant, settings: Settings) -> ProbeResult:
    try:
        source, _ = open_source(settings)
    except SourceUnavailable as refusal:
        return _no(_short(str(refusal), way.name), refusal)
    except Exception as error:
        # Any other exception is no evidence about the source.
        return ProbeResult(Answer.UNKNOWN, f"{type(error).__name__}: {error}")
    try:
        source.drain(time.monotonic_ns())
        name, description = _taken(source), source.description
        hooks = getattr(source, "hooks", None)
    except Exception as error:
        return ProbeResult(Answer.UNKNOWN, f"it opens, but reading fails: {error}")
    finally:
        source.close()
    if way.name == SOCK_DIAG and name != SOCK_DIAG:
        return _without_sock_diag(getattr(source, "refused", None))
    places = None
    if hooks is not None:
        places = {"attached": hooks.attached, "absent": hooks.missing, "refused": hooks.refused}
    return ProbeResult(Answer.YES, _short(description, name), source=name, hooks=places)


def _no(reason: str, refusal: BaseException) -> ProbeResult:
    call, number = _refused(refusal)
    answer = Answer.UNKNOWN if number in _PASSING else Answer.NO
    return ProbeResult(answer, reason, errno.errorcode.get(number), call)


def _without_sock_diag(reason: str | None) -> ProbeResult:
    """Return the result of the sampler without sock_diag, with its reason."""
    try:
        SockDiag().close()
    except OSError as refusal:
        return _no(reason or str(refusal), refusal)
    return ProbeResult(Answer.NO, reason or "sock_diag does not answer")


def _refused(error: BaseException) -> tuple[str | None, int]:
    """Return the refused call and its errno, from the first exception of the chain."""
    cause: BaseException | None = error
    while cause is not None:
        number = getattr(cause, "errno", None)
        if isinstance(number, int) and number:
            return getattr(cause, "what", None), number
        cause = cause.__cause__ or cause.__context__
    return None, 0


def _taken(source: Source) -> str:
    """Return the name of the source's variant, as in `source_variants`."""
    if source.name != Backend.SAMPLER:
        return f"{source.name} {getattr(source, 'attach', '')}".rstrip()
    return SOCK_DIAG if getattr(source, "refused", None) is None else PROC_NET


def _short(text: str, name: str) -> str:
    """Return the text of a source without the name that the table already has."""
    backend, _, attach = name.partition(" ")
    for beginning in (f"--backend {backend}: ", f"{attach}: "):
        text = text.removeprefix(beginning)
    return text.replace(", --no-sock-diag was given", "")


def _read(fd: int, longest_s: float) -> tuple[bytes, bool]:
    """Read the pipe to its end; the second value is False at a timeout."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + longest_s
    output = b""
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * _MS_PER_S):
            continue
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            return output, True
        output += chunk
    return output, False
