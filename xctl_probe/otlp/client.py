"""One request at a time to a receiver of OTLP/HTTP.

https://opentelemetry.io/docs/specs/otlp/#otlphttp: binary protobuf by POST, here with gzip.
"""

from __future__ import annotations

import socket
import zlib
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ssl import SSLCertVerificationError

from xctl_probe.otlp.url import Url

_WAIT_S = 10.0  # the default of OTEL_EXPORTER_OTLP_TIMEOUT
_MOST_ANSWER_BYTES = 1 << 16
_MOST_RETRY_AFTER_S = 300
_LEVEL = 1
_GZIP = 31  # wbits
_TOO_MANY = 429
_RETRYABLE = frozenset((_TOO_MANY, 502, 503, 504))
_REFUSED = 300  # from here on a request was not taken
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "gzip",
    "User-Agent": "OTLP-Exporter-xctl-probe-network",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    `problem` is empty where the request was taken; `content` is the message of the answer then.
    `retry`: the same request may be taken later, `after_s` at the earliest where given.
    `answered`: it is the receiver that refuses.
    """

    problem: str = ""
    content: bytes = b""
    retry: bool = False
    after_s: int | None = None
    answered: bool = True


class Client:
    """Sends requests over one connection, which is opened again after a failure.

    `close` may come from another thread: the request that waits then fails.
    """

    def __init__(self, url: Url, wait_s: float = _WAIT_S) -> None:
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self._connection = kind(url.host, url.port, timeout=wait_s)
        self._path = url.path
        self._used = False

    def post(self, path: str, message: bytes) -> Answer:
        """Send a message; wait for the answer for ten seconds without progress at most."""
        compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
        body = compressor.compress(message) + compressor.flush()
        reused = self._used
        try:
            try:
                return self._post(path, body)
            except (ConnectionError, HTTPException):
                if not reused:
                    raise
                # The receiver had closed the connection meanwhile.
                self._drop()
                return self._post(path, body)
        # ValueError: of a host name that cannot be encoded, and of a connection that is aborted.
        except (OSError, HTTPException, ValueError) as error:
            self._drop()
            return Answer(_reason(error), retry=True, answered=False)

    def abort(self) -> None:
        """Let the request that waits fail, from another thread."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _post(self, path: str, body: bytes) -> Answer:
        self._connection.request("POST", self._path + path, body, _HEADERS)
        response = self._connection.getresponse()
        content = response.read(_MOST_ANSWER_BYTES)
        self._used = not response.will_close and not response.read(1)
        if not self._used:
            self._drop()
        if response.status < _REFUSED:
            return Answer(content=content)
        problem = f"{response.status} {response.reason}".strip()
        return Answer(problem, retry=response.status in _RETRYABLE, after_s=_after_s(response))

    def _drop(self) -> None:
        self._used = False
        self._connection.close()


def _after_s(response: HTTPResponse) -> int | None:
    """Return the seconds of Retry-After; a date counts as none."""
    text = response.getheader("Retry-After", "").strip()
    return min(int(text[:9]), _MOST_RETRY_AFTER_S) if text.isascii() and text.isdigit() else None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the name of the host is not known"
    if isinstance(error, ConnectionError):
        return (error.strerror or "the connection was closed without an answer").lower()
    if isinstance(error, SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "the answer is not HTTP" if isinstance(error, HTTPException) else str(error)
