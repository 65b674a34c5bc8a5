"""What an option is: its name on the command line, in the environment and in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any

ENV = "XCTL_NETWORK_"  # before the name of a variable


class Place(Flag):
    """Other places of an option than the command line."""

    NONE = 0
    VARIABLE = auto()
    FILE = auto()
    BOTH = VARIABLE | FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Option of the command.

    `name`: after `--`, and key of the TOML file.  `kind`: type of one value; a bool is a flag.
    `many`: repeatable.  `default`: None for an option without one.  `check` raises UsageError for
    an invalid value.  `sources`: the sources that use it, where not all do.  `former_values` are
    accepted and not documented, like a `hidden` option.
    """

    name: str
    kind: type
    default: bool | float | str | None = None
    help: str
    check: Callable[[Any], None] | None = None
    many: bool = False
    metavar: str | None = None
    places: Place = Place.BOTH
    sources: tuple[str, ...] = ()
    former_values: Mapping[str, str] = field(default_factory=dict)
    hidden: bool = False

    @property
    def parameter(self) -> str:
        """Name of the parameter in Python."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str | None:
        """Name of the environment variable, None where it has none."""
        return ENV + self.parameter.upper() if Place.VARIABLE in self.places else None

    def current(self, value: str) -> str:
        """Return the current name of a value."""
        return self.former_values.get(value, value)

    def checked(self, value: Any) -> None:
        """Raise UsageError where this value, or one of these, is invalid."""
        if self.check is not None and value is not None:
            for one in value if self.many else (value,):
                self.check(one)
