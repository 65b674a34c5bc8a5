"""Words that documents, messages and code do not use; docs/glossary.md names the word for each."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

RETIRED = re.compile(
    r"\b("
    r"tell|tells|told|telling|say|says|said|saying|speak|speaks|spoke"
    r"|(?:look|looks|looked|looking)(?! up)|glance|walk|walks|walked"
    r"|nobody|nameless|flavou?rs?|patience|patient|stirred|resting|brief|doing"
    r"|agreed|agreement|ends|(?:near|far|other) end"
    r"|facts?|news|dialogue|gaps?|traps?"
    r"|meets?|met|judges?|judged|wish|wishes|breath|tied|crowded"
    r")\b",
    re.IGNORECASE,
)
# Retired for a concept, and free in their plain meaning.
ORDINARY = {
    "fallback", "proc", "way to attach", "owes nothing", "past", "conversation", "asleep", "awake",
    "lost", "unkept", "refused", "watched",
}  # fmt: skip
# Parts of names that are retired in code only.
_RETIRED_PARTS = frozenset({"near", "far", "awake", "asleep"})
# Names that others own or read: a map whose name is a reason of dropped events.
_KEPT_NAMES = frozenset({"crowded_processes"})

_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_C_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def retired_parts(name: str) -> list[str]:
    """Return the retired words in an identifier, by its underscores and capitals."""
    if name in _KEPT_NAMES:
        return []
    parts = [part.lower() for part in _PART.findall(name)]
    return [part for part in parts if part in _RETIRED_PARTS or RETIRED.fullmatch(part)]


def python_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of what a module defines or binds: names of libraries are not its own."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def python_prose(text: str, tree: ast.AST, *, strings: bool) -> Iterator[tuple[int, str]]:
    """Yield line and text of comments, docstrings, and `strings` of more than one word."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(value)) if " " in value.strip() and (
                strings or id(node) in docstrings
            ):
                yield node.lineno, value


def c_names(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of all identifiers of a C file."""
    code = _C_STRING.sub('""', _C_COMMENT.sub(_blank, text))
    for number, line in enumerate(code.splitlines(), 1):
        yield from ((number, name) for name in re.findall(r"[A-Za-z_]\w*", line))


def c_prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of the comments of a C file."""
    for found in _C_COMMENT.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, " ".join(found.group().split())


def retired_in(path: Path, *, strings: bool = True) -> list[str]:
    """Return `line: word: text` of each retired word in a Python or C file.

    Without `strings`: in names, docstrings and comments only.
    """
    text = path.read_text()
    if path.suffix == ".py":
        tree = ast.parse(text)
        names, texts = python_names(tree), python_prose(text, tree, strings=strings)
    else:
        names, texts = c_names(text), c_prose(text)
    found = [
        f"{number}: {word}: {name}"
        for number, name in [(0, path.stem), *names]
        for word in retired_parts(name)
    ]
    return found + [
        f"{number}: {match.group()}: {' '.join(line.split())[:100]}"
        for number, line in texts
        for match in RETIRED.finditer(re.sub(r"`[^`]*`", "", line))
    ]


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found.group())
