"""The series, in bounded number, and their text.

Each series keeps the beginning of its line, so that a scrape formats numbers only: 20,000 series
take 8 ms, where a registry of label values takes 340 ms (docs/decisions/0014).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from xctl_probe.fair import Room
from xctl_probe.prometheus.families import FAMILIES, OTHER, OWNER, Family

MOST_SERIES = 20_000
_LONGEST_VALUE = 256  # of a label; the name of a pod has at most 253
_NS_PER_S = 1_000_000_000

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


# Name and value of each label.
Labels = Iterable[tuple[str, str]]


class Series:
    """One line of a family: its text up to the value, and the value.

    `since_ms`: the value counts from then on (Unix epoch).  `holders`: so many groups have it.  Two
    names that are shown alike share a series, because Prometheus refuses a line that comes twice.
    """

    __slots__ = ("holders", "line", "since_ms", "value")

    def __init__(self, line: bytes, since_ms: int) -> None:
        self.line = line
        self.since_ms = since_ms
        self.value = 0
        self.holders = 0


class Group:
    """Series with the same first labels, which come and go together.

    `uid` is the user whose share of the room it takes, None for what no user can cause.
    `reserved`: it always finds room, because its series are few.  `processes`: pid and start of
    some of those that it adds up.
    """

    __slots__ = ("labels", "processes", "reserved", "series", "uid")

    def __init__(
        self,
        labels: Labels = (),
        uid: int | None = None,
        *,
        reserved: bool = False,
    ) -> None:
        self.labels = tuple(labels)
        self.uid = uid
        self.reserved = reserved
        self.processes: list[tuple[int, int]] = []
        self.series: dict[tuple[Family, tuple[str, ...]], Series] = {}


class Registry:
    """All series.

    At most `most`, shared fairly by user; what finds no room is added to the group `other`, whose
    labels have only values that the probe itself makes.  `overflowed` counts these.  `render`
    makes what a series keeps of its labels.  `since_ms` is when a new series begins.
    """

    def __init__(
        self, most: int = MOST_SERIES, render: Callable[[Family, Labels], bytes] | None = None
    ) -> None:
        self._most = most
        self._render = render or _line
        self.since_ms = 0
        self._room: Room[int] = Room(most)
        self._tables: dict[Family, dict[bytes, Series]] = {family: {} for family in FAMILIES}
        self._others = {
            True: Group(((name, OTHER) for name in OWNER[:-1]), reserved=True),
            False: Group(reserved=True),
        }
        self.overflowed = 0

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    @property
    def most(self) -> int:
        """Limit of the number of series, without those of reserved groups."""
        return self._most

    def find(self, group: Group, family: Family, values: tuple[str, ...] = ()) -> Series:
        """Return a series by the values of the labels of its family; a new one begins at 0."""
        found = group.series.get((family, values))
        if found is not None:
            return found
        if not group.reserved and not self._room.take(group.uid, 1):
            self.overflowed += 1
            return self.find(self._others[family.owned], family, family.without_open(values))
        line = self._render(family, (*group.labels, *zip(family.labels, values, strict=True)))
        series = self._tables[family].setdefault(line, Series(line, self.since_ms))
        series.holders += 1
        group.series[family, values] = series
        return series

    def drop(self, group: Group) -> None:
        """Remove a group with its series.  Safe to call twice."""
        for family, values in list(group.series):
            self.drop_series(group, family, values)

    def drop_series(self, group: Group, family: Family, values: tuple[str, ...]) -> None:
        """Remove one series of a group.  Safe to call twice."""
        series = group.series.pop((family, values), None)
        if series is None:
            return
        self._room.give_back(group.uid, 1)
        series.holders -= 1
        if not series.holders:
            del self._tables[family][series.line]

    def tables(self) -> Iterator[tuple[Family, Iterable[Series]]]:
        """Yield the families that have series."""
        return ((family, table.values()) for family, table in self._tables.items() if table)

    def text(self, content_type: str = TEXT) -> bytes:
        """Return all series in the text format 0.0.4, or as OpenMetrics 1.0."""
        openmetrics = content_type == OPENMETRICS
        parts = []
        for family, table in self.tables():
            parts += _head(family, openmetrics=openmetrics)
            parts += (_lines_ns if family.is_ns else _lines)(table)
        if openmetrics:
            parts.append(b"# EOF\n")
        return b"".join(parts)


def _head(family: Family, *, openmetrics: bool) -> list[bytes]:
    name = (family.full_name if openmetrics else family.sample_name).encode()
    head = [
        b"# HELP %b %b\n" % (name, family.help.encode()),
        b"# TYPE %b %b\n" % (name, family.kind.encode()),
    ]
    if openmetrics and family.unit is not None:
        head.append(b"# UNIT %b %b\n" % (name, family.unit.encode()))
    return head


def _lines(table: Iterable[Series]) -> list[bytes]:
    return [b"%b%d\n" % (one.line, one.value) for one in table]


def _lines_ns(table: Iterable[Series]) -> list[bytes]:
    """Lines of values in ns, as seconds: all digits, without a float between."""
    return [b"%b%d.%09d\n" % (one.line, *divmod(one.value, _NS_PER_S)) for one in table]


def _line(family: Family, labels: Labels) -> bytes:
    shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels if value)
    return f"{family.sample_name}{f'{{{shown}}}' if shown else ''} ".encode()


def label_value(text: str) -> str:
    """Return a label value, cut to its length; characters that do not print become visible."""
    text = text[:_LONGEST_VALUE]
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii")
            for c in text
        )
    return text


def _escaped(text: str) -> str:
    # No newline is left: it does not print.
    return label_value(text).replace("\\", "\\\\").replace('"', '\\"')
