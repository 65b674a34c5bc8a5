"""Text from outside cannot command a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.exporters.sanitize import printable


@given(st.text(), st.binary(max_size=15))
def test_printable_is_printable_and_leaves_ascii_alone(text, raw):
    """Surrogates of undecodable names included."""
    for one in (text, raw.decode("utf-8", "surrogateescape")):
        shown = printable(one)
        assert all(" " <= c <= "~" for c in shown)
        assert (shown == one) == all(" " <= c <= "~" for c in one)
