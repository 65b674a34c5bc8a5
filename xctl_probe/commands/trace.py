"""`--trace`: prints every send and receive call, for debugging.

The lines are not records of the consumer.  Where they are not written as fast as the calls come,
the kernel drops some, and their exact number is printed.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Iterator

import orjson

from xctl_probe.config.choices import ConcreteFormat, Format
from xctl_probe.config.settings import Settings
from xctl_probe.ebpf.call_trace import READ_AGAIN_S, Call, Trace
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.outlet import write_all
from xctl_probe.exporters.sanitize import printable
from xctl_probe.linux.addresses import endpoint_text
from xctl_probe.signals import stop_signals
from xctl_probe.stderr import Diagnostics

_PROTOCOLS = {6: "tcp", 17: "udp", 136: "udplite", 262: "mptcp"}
_MSG_PEEK = 0x2
_CHUNK_LINES = 256
_MS_PER_S = 1000

_Line = Callable[[Call], bytes]


def trace_calls(
    settings: Settings, diagnostics: Diagnostics, stdout: int, form: ConcreteFormat
) -> None:
    """Print calls until a signal, the duration, or the exit of the reader.

    Raises SourceUnavailable.
    """
    trace = Trace(log=settings.log)
    diagnostics.report("tracing every send and receive; the lines are not for a consumer")
    try:
        _stream(trace, settings, stdout, _line_of(form))
    except BrokenPipeError:
        return
    finally:
        trace.close()


def _stream(trace: Trace, settings: Settings, stdout: int, line_of: _Line) -> None:
    begun_ns = time.monotonic_ns()
    report_ns = begun_ns + settings.interval_ns
    pids = settings.wanted.pids
    with stop_signals() as stop:
        wait = select.poll()
        wait.register(stop, select.POLLIN)
        wait.register(stdout, 0)  # a reader that leaves shows as an error
        stopped = False
        while not stopped:
            stopped = bool(wait.poll(READ_AGAIN_S * _MS_PER_S))
            wanted = (call for call in trace.calls() if not pids or call.pid in pids)
            # A flood of calls does not pause: signals and time are checked after each chunk.
            for chunk in _chunks(map(line_of, wanted)):
                write_all(stdout, chunk)
                stopped = stopped or bool(wait.poll(0)) or _over(begun_ns, settings.duration_ns)
                if stopped or time.monotonic_ns() >= report_ns:
                    _report(trace.dropped(), stdout)
                    report_ns += settings.interval_ns
                if stopped:
                    break


def _over(begun_ns: int, duration_ns: int | None) -> bool:
    return duration_ns is not None and time.monotonic_ns() - begun_ns >= duration_ns


def _chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == _CHUNK_LINES:
            yield b"".join(chunk)
            chunk.clear()
    yield b"".join(chunk)


def _line_of(form: ConcreteFormat) -> _Line:
    match form:
        case Format.NDJSON:
            return _json
        case Format.TEXT:
            return _text


def _report(dropped: int, stdout: int) -> None:
    if dropped:
        write_all(stdout, orjson.dumps({"dropped": dropped}) + b"\n")


def _json(call: Call) -> bytes:
    return ascii_json(
        {
            "time_ns": call.time_ns,
            "pid": call.pid or None,
            "tid": call.tid or None,
            "comm": call.comm,
            "call": "receive" if call.is_receive else "send",
            "protocol": _PROTOCOLS.get(call.protocol, str(call.protocol)),
            "local": endpoint_text(call.local_address, call.local_port),
            "remote": endpoint_text(call.remote_address, call.remote_port),
            "result": call.result,
            "peek": bool(call.is_receive and call.flags & _MSG_PEEK),
        }
    )


def _text(call: Call) -> bytes:
    what = "receive" if call.is_receive else "send"
    local = endpoint_text(call.local_address, call.local_port)
    remote = endpoint_text(call.remote_address, call.remote_port)
    arrow = "<-" if call.is_receive else "->"
    protocol = _PROTOCOLS.get(call.protocol, str(call.protocol))
    line = (
        f"{call.time_ns / 1e9:14.6f}  {call.pid:>7} {printable(call.comm):<15}  {what:<7} "
        f"{protocol:<5} {call.result:>9}  {local} {arrow} {remote}"
    )
    return f"{line}\n".encode("ascii")
