"""The TOML file."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from xctl_probe.config.option import Option
from xctl_probe.config.options import FILE_KEYS
from xctl_probe.errors import UsageError

_LARGEST_FILE_BYTES = 1 << 20

FileValue = int | float | str | bool | list[int] | list[str]


def read_file(path: Path) -> dict[str, FileValue]:
    """Return the settings of a TOML file, by long option name.

    Raises UsageError for a file that is unreadable or not TOML, and for an unknown key or a value
    of the wrong type.
    """
    import tomllib  # noqa: PLC0415 - most runs have no file

    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE_BYTES + 1)  # bounded, for files such as /dev/zero
        if len(text) > _LARGEST_FILE_BYTES:
            raise UsageError(
                f"--config {path}: more than {_LARGEST_FILE_BYTES >> 20} MiB; "
                "give the path of a TOML file with these options"
            )
        table = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"--config {path}: {error.strerror}; give the path of a readable TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path}: not UTF-8 text at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--config {path}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"--config {path}: cannot be parsed (nested too deeply, or a number out of range)"
        ) from error
    return {key: _file_value(path, key, value) for key, value in table.items()}


def _file_value(path: Path, key: str, value: object) -> FileValue:
    """Return one value of the file with its current name, in a list where many are allowed."""
    option = FILE_KEYS.get(key)
    if option is None:
        import difflib  # noqa: PLC0415 - for a mistake

        similar = difflib.get_close_matches(key, FILE_KEYS, n=1)
        shown = (name for name, known in FILE_KEYS.items() if not known.hidden)
        hint = f"did you mean {similar[0]!r}?" if similar else f"known keys: {', '.join(shown)}"
        raise UsageError(f"--config {path}: unknown key {key!r}; {hint}")
    values = value if option.many and isinstance(value, list) else [value]
    if not all(_is(option.kind, one) for one in values):
        raise UsageError(
            f"--config {path}: {key}: expected {_expected(option)}, got {repr(value)[:40]}"
        )
    found: list[Any] = [option.current(v) if isinstance(v, str) else v for v in values]
    return found if option.many else found[0]


_KIND_TEXTS = {bool: "true or false", int: "an integer", float: "a number"}


def _expected(option: Option) -> str:
    """Return what a file may have for an option, in words."""
    one = _KIND_TEXTS.get(option.kind, "a string")
    return f"{one} or a list" if option.many else one


def _is(kind: type, value: object) -> bool:
    """Return True where a TOML value is of the kind of an option; an enum is text."""
    # Not isinstance: a bool is an int in Python.  Numbers of TOML are not bounded.
    if isinstance(value, int | float) and abs(value) > sys.maxsize:
        return False
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (str if issubclass(kind, StrEnum) else kind)
