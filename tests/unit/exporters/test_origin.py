"""`net.host` and `net.boot_id`: each line names its host, whatever the host is called."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from support.records import NOW_MS, RECORDS

from xctl_probe.events import DroppedEvents
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.origin import Origin, is_host_name, this_host, with_origin
from xctl_probe.exporters.records import ErrorRecord, InterfaceErrors, InterfaceFailure

BOOT = "6f1c1f6e-8a55-4f0a-9d43-0c3b6d1a2f07"
ORIGIN = Origin("node-7", BOOT)


@given(RECORDS)
def test_each_record_gets_the_two_fields_and_keeps_all_others(record):
    plain, named = json.loads(to_line(record)), json.loads(with_origin(to_line, ORIGIN)(record))
    assert named.pop("net") == {**plain.pop("net"), "host": "node-7", "boot_id": BOOT}
    assert named == plain


def test_a_record_without_detail_has_only_them():
    record = ErrorRecord(NOW_MS, InterfaceErrors("eth0", InterfaceFailure.DROPS, 1, 0))
    line = with_origin(to_line, ORIGIN)(record)
    assert line.endswith(b',"net":{"host":"node-7","boot_id":"%b"}}\n' % BOOT.encode())


def test_without_a_boot_id_there_is_none():
    line = with_origin(to_line, Origin("node-7"))(ErrorRecord(NOW_MS, DroppedEvents("ring", 7)))
    assert json.loads(line)["net"] == {"where": "ring", "host": "node-7"}


def test_the_kernel_names_the_host_and_its_boot(tmp_path):
    (tmp_path / "boot_id").write_text(BOOT + "\n")
    found = this_host(boot_id=tmp_path / "boot_id")
    assert found == Origin(os.uname().nodename, BOOT)
    assert this_host("rack-3", tmp_path / "absent") == Origin("rack-3")


@pytest.mark.parametrize("boot", ["", "7", BOOT.upper(), f'{BOOT}","x":"'])
def test_what_is_no_boot_id_is_left_out(tmp_path, boot):
    (tmp_path / "boot_id").write_text(boot)
    assert this_host("a", tmp_path / "boot_id").boot_id is None


def test_a_strange_name_of_the_kernel_is_made_printable(monkeypatch, tmp_path):
    for name, expected in (('a b\n"\u00fc', 'a?b?"?'), ("", "-"), ("n" * 65, "n" * 64)):
        monkeypatch.setattr(os, "uname", lambda name=name: SimpleNamespace(nodename=name))
        origin = this_host(boot_id=tmp_path)
        assert origin == Origin(expected)
        line = with_origin(to_line, origin)(ErrorRecord(NOW_MS, DroppedEvents("ring", 7)))
        assert json.loads(line)["net"]["host"] == expected


def test_names_that_are_accepted():
    assert all(map(is_host_name, ["n", "node-7.rack:3", "n" * 64]))
    assert not any(map(is_host_name, ["", "a b", "a\n", "\u00fc", "n" * 65]))
