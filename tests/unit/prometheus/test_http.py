"""HTTP: whole requests get one answer, halves wait, and the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.prometheus.http import MOST_REQUEST_BYTES, Answer, answer, content_type
from xctl_probe.prometheus.registry import OPENMETRICS, TEXT

# What Prometheus 2.42 sends, and what later ones do.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8"
    ";q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def respond(request):
    pieces = answer(request, {"/metrics": lambda accept: Answer(200, accept.encode())})
    return pieces if pieces is None else b"".join(pieces)


def status(request):
    return respond(request).split(b" ", 2)[1]


def test_a_whole_request_gets_its_answer():
    found = respond(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\naccept: text/plain\r\n\r\n")
    assert found == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n"
        b"Connection: close\r\nCache-Control: no-store\r\n\r\ntext/plain"
    )


def test_a_request_in_pieces_is_waited_for():
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    assert {respond(request[:size]) for size in range(len(request))} == {None}
    assert status(request) == b"200"


def test_head_has_no_body():
    found = respond(b"HEAD /metrics HTTP/1.1\r\nAccept: */*\r\n\r\n")
    assert b"Content-Length: 3\r\n" in found
    assert found.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/ HTTP/1.1\n\n", b"404"),
        (b"GET /../metrics HTTP/1.0\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 2_000, b"431"),
        (b"GET /" + b"a" * MOST_REQUEST_BYTES, b"431"),
    ],
)
def test_other_requests_are_refused(request_, code):
    assert status(request_) == code


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda b: b"GET /metrics " + b))
def test_any_bytes_get_an_answer_or_are_waited_for(request_):
    found = respond(request_ + b"\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", TEXT),
        ("Application/OpenMetrics-Text; Version=1.0.0 ; q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", TEXT),
        (";;,;=,q=;q", TEXT),
    ],
)
def test_the_format_is_the_one_that_the_client_prefers(accept, kind):
    assert content_type(accept) == kind


@given(st.text(max_size=60))
def test_any_accept_is_a_format(accept):
    assert content_type(accept) in (TEXT, OPENMETRICS)
