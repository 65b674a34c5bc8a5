"""The host that a stream is of: its name and its boot, in `net` of each NDJSON record."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.exporters.base import Exporter
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.records import Record

# random(4): made anew at each boot, the same in every container of the host.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNUSUAL = re.compile(r"[^!-~]")
_MOST_CHARACTERS = 64  # HOST_NAME_MAX, gethostname(2)
_END, _EMPTY = b"}}\n", b"{}}\n"  # of a record whose `net` comes last


@dataclass(frozen=True, slots=True)
class Origin:
    """Name of a host, and the id of its boot; `boot_id` is None where it cannot be read."""

    host: str
    boot_id: str | None = None


def this_host(name: str | None = None, boot_id: Path = _BOOT_ID) -> Origin:
    """Return the origin of this host, under another `name` if one is given.

    Characters of the kernel's name other than printable ASCII become `?`, and an empty name `-`.
    """
    host = name or _UNUSUAL.sub("?", os.uname().nodename)[:_MOST_CHARACTERS] or "-"
    try:
        found = boot_id.read_text("ascii").strip()
    except (OSError, ValueError):
        found = ""
    return Origin(host, found if _UUID.fullmatch(found) else None)


def is_host_name(text: str) -> bool:
    """True for 1 to 64 characters of printable ASCII without spaces."""
    return 0 < len(text) <= _MOST_CHARACTERS and _UNUSUAL.search(text) is None


def with_origin(render: Exporter, origin: Origin) -> Exporter:
    """Return an exporter of NDJSON that also writes `net.host` and `net.boot_id`.

    `render` writes `net` last in a record.  The two fields are rendered once and put into the line.
    """
    fields = {"host": origin.host} | ({"boot_id": origin.boot_id} if origin.boot_id else {})
    text = ascii_json(fields)[1:-2]  # without braces and newline
    first, further = b"{" + text + _END, b"," + text + _END

    def render_with_origin(record: Record, /) -> bytes:
        line = render(record)
        if line.endswith(_EMPTY):
            return line[: -len(_EMPTY)] + first
        return line[: -len(_END)] + further

    return render_with_origin
