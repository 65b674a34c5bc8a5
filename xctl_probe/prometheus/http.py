"""A small part of HTTP/1.1 (RFC 9112): one GET a connection, and its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xctl_probe.prometheus.registry import OPENMETRICS, TEXT

MOST_REQUEST_BYTES = 8_192
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.[0-9]")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")
_PLAIN = "text/plain; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path returns: the status, the type of the content, and the content."""

    status: int
    content: bytes
    content_type: str = _PLAIN


Handler = Callable[[str], Answer]  # given the value of Accept


def answer(request: bytes, handlers: dict[str, Handler]) -> list[bytes] | None:
    """Return the pieces of the response to what was received so far; None: it is not complete."""
    end = _END_OF_HEAD.search(request)
    if end is None:
        if len(request) < MOST_REQUEST_BYTES:
            return None
        return _response(_failure(431))
    first, *rest = re.split(rb"\r?\n", request[: end.start()])
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        return _response(_failure(400))
    method, target = line[1], line[2].decode("latin-1").partition("?")[0]
    handler = handlers.get(target)
    if handler is None:
        return _response(_failure(404))
    if method not in (b"GET", b"HEAD"):
        return _response(_failure(405), "Allow: GET, HEAD\r\n")
    return _response(handler(_accepted(rest)), body=method == b"GET")


def content_type(accept: str) -> str:
    """Return the format that the client prefers: OpenMetrics only where it names version 1.0.0."""
    openmetrics = text = 0.0
    for kind, parameters, quality in _ranges(accept):
        version = parameters.get("version")
        if kind == "application/openmetrics-text" and version in (None, "1.0.0"):
            openmetrics = max(openmetrics, quality)
        elif kind in ("*/*", "text/*") or (kind == "text/plain" and version in (None, "0.0.4")):
            text = max(text, quality)
    return OPENMETRICS if openmetrics and openmetrics >= text else TEXT


def _ranges(accept: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield the media ranges of an Accept field (RFC 9110, 12.5.1)."""
    for one in accept.lower().split(","):
        kind, *words = (word.strip() for word in one.split(";"))
        pairs = (word.partition("=")[::2] for word in words)
        parameters = {name.strip(): value.strip().strip('"') for name, value in pairs}
        quality = parameters.pop("q", "1")
        yield kind, parameters, min(float(quality), 1.0) if _QUALITY.fullmatch(quality) else 0.0


def _accepted(fields: list[bytes]) -> str:
    """Return the values of all Accept fields."""
    pairs = (field.partition(b":") for field in fields)
    return ",".join(
        value.strip().decode("latin-1") for name, _, value in pairs if name.lower() == b"accept"
    )


def _failure(status: int) -> Answer:
    return Answer(status, f"{_REASONS[status]}\n".encode())


def _response(found: Answer, fields: str = "", *, body: bool = True) -> list[bytes]:
    head = (
        f"HTTP/1.1 {found.status} {_REASONS[found.status]}\r\n"
        f"Content-Type: {found.content_type}\r\n"
        f"Content-Length: {len(found.content)}\r\n"
        f"Connection: close\r\nCache-Control: no-store\r\n{fields}\r\n"
    ).encode()
    return [head, found.content] if body else [head]
