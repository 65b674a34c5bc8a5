"""README.zh-CN.md has what README.md has: parts, commands with their output, options, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))
BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# The Chinese page leads to this table instead of repeating it.
GENERATED = re.compile(r"<!-- (\w+): .*?<!-- \1 end -->\n", re.DOTALL)
PAGES = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["English", "Chinese"])


def both(of):
    """The same of both pages, without the generated table."""
    return of(GENERATED.sub("", ENGLISH)), of(CHINESE)


def without_comments(block):
    return re.sub(r"\s+# .*$", "", block, flags=re.MULTILINE)


def prose(text):
    return BLOCK.sub("", text)


def test_the_parts_come_in_the_same_order():
    """Those of the first level, of the second, paragraphs, lists and tables between them."""

    def shape(text):
        parts = [part for part in re.split(r"\n\s*\n", prose(text).strip()) if part]
        kinds = []
        for part in parts:
            lines = part.splitlines()
            head = re.match(r"#+ |\|(?=.*\|)|- |!\[", lines[0])
            kind = head[0].strip() if head else "text"
            kinds.append((kind, len(lines)) if kind in ("|", "-") else (kind, 1))
        return kinds

    english, chinese = both(shape)
    # A remark that the documents are in English.
    chinese.remove(("text", 1))
    remaining = [kind for kind in english if kind[0] != "text"]
    assert [kind for kind in chinese if kind[0] != "text"] == remaining
    assert [kind for kind, _ in english].count("##") > 10


def test_blocks_of_commands_and_output_are_the_same():
    english, chinese = both(lambda text: list(map(without_comments, BLOCK.findall(text))))
    assert chinese == english


@PAGES
def test_each_page_leads_to_the_other(page):
    assert re.search(r"^(\[English\]\(README\.md\) \| |English \| \[)", page, re.MULTILINE)


def test_what_is_written_as_code_is_the_same():
    """Options, commands, variables, paths; each at least as often."""
    english, chinese = both(
        lambda text: {
            " ".join(one.split()) for one in re.findall(r"`([^`]+)`", prose(text)) if one[0] != " "
        }
    )
    assert chinese == english


def test_options_are_in_the_same_order():
    english, chinese = both(lambda text: re.findall(r"--[a-z][a-z-]+", prose(text)))
    assert set(chinese) == set(english)
    first = english.index("--interval")
    listed = english[first : english.index("--version") + 1]
    first = chinese.index("--interval")
    assert chinese[first : first + len(listed)] == listed


def test_links_and_pictures_are_the_same():
    others = {"README.md", "README.zh-CN.md"}
    english, chinese = both(
        lambda text: [to for to in re.findall(r"\]\(([^)]+)\)", text) if to not in others]
    )
    assert chinese == english


def test_numbers_are_the_same():
    """Those of prose and tables; some are words in English, and figures of cost are measured."""
    english, chinese = both(lambda text: set(re.findall(r"\d[\d,.]*\d|\d", prose(text))))
    assert chinese - english == set()
    assert english - chinese == set()


def test_each_link_leads_to_a_file():
    links = [to for to in re.findall(r"\]\(([^)#]+)\)", CHINESE) if "://" not in to]
    assert [to for to in links if not (ROOT / to).exists()] == []


def test_tables_have_the_same_cells_of_code():
    """Row by row: a row that was forgotten, or is at another place."""

    def rows(text):
        return [re.findall(r"`[^`]+`", line) for line in text.splitlines() if line.startswith("| ")]

    english, chinese = both(rows)
    assert [set(row) for row in chinese] == [set(row) for row in english]
