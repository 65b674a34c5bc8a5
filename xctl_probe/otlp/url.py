"""The address of a receiver of OTLP/HTTP: `http://127.0.0.1:4318`, with a path or without."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}  # RFC 9110; 4318 is the default of no URL, only of SDKs
_HOST = re.compile(r"[0-9A-Za-z._:%-]+")
_TEXT = re.compile(r"[!-~]+")  # urlsplit removes newlines


@dataclass(frozen=True, slots=True)
class Url:
    """Scheme, host and port; `path` is before `/v1/metrics` and has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(text: str) -> Url:
    """Return the address.  Raises ValueError, also for a password, a query or a fragment."""
    parts = urlsplit(text)
    port = parts.port  # raises ValueError where it is no port
    if parts.scheme not in _PORTS or not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise ValueError(text)
    if "@" in parts.netloc or "?" in text or "#" in text or not _TEXT.fullmatch(text):
        raise ValueError(text)
    assert parts.hostname is not None
    return Url(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path.rstrip("/"))
