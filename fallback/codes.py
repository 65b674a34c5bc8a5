"""Numbers for values that many rows share, such as their interface."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np

from xctl_probe.fallback.message_arrays import Records

_MOST_UNUSED = 1_024

T = TypeVar("T", bound=Hashable)


class Codes(Generic[T]):
    """Numbers of values, from 1 on; 0 is None.  Values that no row has are let go of."""

    def __init__(self) -> None:
        self._values: list[T | None] = [None]
        self._codes: dict[T | None, int] = {None: 0}
        self._most = _MOST_UNUSED

    def of(self, value: T | None) -> int:
        """Return the number of a value."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self._values)
            self._values.append(value)
        return code

    def value(self, code: int) -> T | None:
        """Return the value of a number."""
        return self._values[code]

    def trim(self, rows: Records, column: str) -> None:
        """Let go of what no row has in this column, once that may be much."""
        if len(self._values) <= self._most:
            return
        used, places = np.unique(rows[column], return_inverse=True)
        if not len(used) or used[0] != 0:
            used, places = np.insert(used, 0, 0), places + 1
        self._values = [self._values[code] for code in used.tolist()]
        self._codes = {value: code for code, value in enumerate(self._values)}
        rows[column] = places.reshape(-1)
        self._most = 2 * len(self._values) + _MOST_UNUSED
