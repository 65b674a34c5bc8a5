"""Words that documents and messages do not use; docs/glossary.md names the word for each."""

from __future__ import annotations

import re

RETIRED = re.compile(
    r"\b("
    r"tell|tells|told|telling|say|says|said|saying|speak|speaks|spoke"
    r"|look|looks|looked|looking|glance|walk|walks|walked"
    r"|nobody|nameless|flavou?rs?|patience|patient|stirred|resting|brief|doing"
    r"|agreed|agreement|ends|(?:far|other) end"
    r"|facts?|news|dialogue|gaps?|traps?"
    r")\b",
    re.IGNORECASE,
)
# Retired for a concept, and free in their plain meaning.
ORDINARY = {
    "fallback", "proc", "way to attach", "owes nothing", "past", "conversation", "asleep", "awake",
    "lost", "unkept", "refused", "watched",
}  # fmt: skip
