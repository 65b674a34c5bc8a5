"""The names in a ClientHello, as OpenSSL writes it, and cut off anywhere."""

from __future__ import annotations

import ssl

import pytest

from xctl_probe.protocols.tls import Hello, is_client_hello, is_record, read_hello


def hello(name, *offered):
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    if offered:
        context.set_alpn_protocols(list(offered))
    context.check_hostname = name is not None
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_the_server_and_what_is_offered():
    payload = hello("Lab.Example", "h2", "http/1.1")
    assert is_client_hello(payload)
    assert read_hello(payload) == Hello("lab.example", ("h2", "http/1.1"))


def test_what_is_cut_off_is_left_out():
    """Never half a name."""
    payload = hello("lab.example", "h2")
    found = {read_hello(payload[:end]) for end in range(len(payload) + 1)}
    assert found == {Hello(), Hello("lab.example"), Hello("lab.example", ("h2",))}


def test_names_that_no_host_has_are_left_out():
    """A name goes into records: what a client writes there is up to it."""
    payload = hello("lab.example")
    for evil in (
        b"lab\nexample",
        b'lab"exampl',
        b"lab.exampl\0",
        b"-ab.example",
        b"lab.ex\xe4mple",
    ):
        assert read_hello(payload.replace(b"lab.example", evil[:11].ljust(11))) == Hello()


def test_records_after_the_handshake():
    assert is_record(b"\x17\3\3\0\x13", 24)
    assert not is_record(b"\x17\3\3\0\x03", 8)  # less than its tag
    assert not is_record(b"\x17\3\3\xff\xff", 70_000)
    assert not is_record(b"\x15\3\3\0\x02", 500)
