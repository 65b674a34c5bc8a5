"""What must be reported while a fault is on, what may be, and what must not."""

from __future__ import annotations

from dataclasses import dataclass, field

SEND, RECEIVE, CONNECT = "send", "receive", "connect"
ANY = frozenset({SEND, RECEIVE, CONNECT})


@dataclass(frozen=True)
class Wait:
    """`who` waits for one of `on` (names of processes; empty: for any process).

    `causes` are those of docs/records.md that are right; None stands for null.  A connection of
    one of `not_ports`, on either side, is another one, such as an idle one of the start-up.
    """

    who: str
    on: frozenset[str] = frozenset()
    directions: frozenset[str] = ANY
    causes: frozenset[str | None] = frozenset({"no_reply"})
    not_ports: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Truth:
    """What holds during one fault.  All that is neither in `must` nor in `may` must not come.

    `culprits` are the processes that the others wait for, directly or not; empty where no
    process is (a dropping network).
    """

    must: tuple[Wait, ...] = ()
    may: tuple[Wait, ...] = ()
    culprits: frozenset[str] = field(default=frozenset())


NOTHING = Truth()
