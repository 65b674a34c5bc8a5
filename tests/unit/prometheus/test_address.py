"""The address of --prometheus: loopback unless one is given."""

from __future__ import annotations

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.prometheus.address import Address, parse


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("9599", "127.0.0.1", 9_599, "127.0.0.1:9599"),
        ("0", "127.0.0.1", 0, "127.0.0.1:0"),
        ("10.0.0.7:9599", "10.0.0.7", 9_599, "10.0.0.7:9599"),
        ("0.0.0.0:65535", "0.0.0.0", 65_535, "0.0.0.0:65535"),
        ("[fd00::7]:9599", "fd00::7", 9_599, "[fd00::7]:9599"),
        ("[::]:1", "::", 1, "[::]:1"),
    ],
)
def test_an_address_is_its_parts(text, host, port, shown):
    found = parse(text)
    assert (found, str(found)) == (Address(host, port), shown)
    family, name = found.family_and_name()
    assert family is (socket.AF_INET6 if ":" in host else socket.AF_INET)
    assert name[:2] == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "-1", "65536", "9" * 30, ":9599", "10.0.0.7", "10.0.0.7:", "10.0.0:x",
        "host.example:9599", "::1:9599", "[::1]", "[10.0.0.7]:9599", "[::1:9599", "1 ", "٣",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    """A name is none: what it stands for may change."""
    with pytest.raises(ValueError, match=rf"^{re.escape(text)}$"):
        parse(text)


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_refused(text):
    try:
        found = parse(text)
    except ValueError:
        return
    assert 0 <= found.port <= 65_535
