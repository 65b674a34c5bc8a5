"""Addresses of receivers."""

from __future__ import annotations

import pytest

from xctl_probe.otlp.url import Url, parse


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:4318", Url("http", "127.0.0.1", 4318, "")),
        ("http://collector/", Url("http", "collector", 80, "")),
        ("HTTPS://otel.example:8443/a/b/", Url("https", "otel.example", 8443, "/a/b")),
        ("https://[fd00::7]", Url("https", "fd00::7", 443, "")),
        ("http://prometheus:9090/api/v1/otlp", Url("http", "prometheus", 9090, "/api/v1/otlp")),
    ],
)
def test_an_address_has_scheme_host_port_and_path(text, url):
    assert parse(text) == url
    assert parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "", "127.0.0.1:4318", "grpc://a:4317", "http://", "http://:4318", "http://a:0",
        "http://a:x", "http://a:65536", "http://u:p@a", "http://a?b", "http://a#b",
        "http://a/\r\nb", "http://a b", "http://[::1", "http://a/\N{SNOWMAN}",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of urllib, too
        parse(text)
