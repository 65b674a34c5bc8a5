"""What every exporter holds to; a new one is added to the list here."""

from __future__ import annotations

import pytest
from hypothesis import given
from support.records import RECORDS

from xctl_probe.exporters.base import Exporter
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.text import to_coloured_text, to_text

EXPORTERS: list[Exporter] = [to_line, to_text, to_coloured_text]
COLOURS = (b"\x1b[31m", b"\x1b[33m", b"\x1b[0m")


@pytest.mark.parametrize("export", EXPORTERS, ids=lambda export: export.__name__)
@given(record=RECORDS)
def test_any_record_is_one_line_of_printable_ascii(export, record):
    """No byte of it moves a cursor, sets a title or breaks the line early, except its colours."""
    line = export(record)
    if export is to_coloured_text:
        for colour in COLOURS:
            line = line.replace(colour, b"")
    assert line.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E for byte in line[:-1])
    assert len(line) <= 4096
