"""Help in Chinese: complete, in step with the English one, and wrapped by columns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata

import pytest
import typer
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.cli import app
from xctl_probe.commands import help_language
from xctl_probe.commands.help_language import gather, paragraphs, spread

CHINESE = help_language.FOLDER / "zh_CN/LC_MESSAGES/xctl-probe-network.po"
# Of the library: what the help has of them.
LIBRARY = {
    "Arguments", "Options", "Commands", "Usage: ", "Show this message and exit.",
    "default: {default}", "env var: {var}", "required",
}  # fmt: skip
# What a translation keeps: options, names of records and files, variables, numbers, placeholders.
KEPT = re.compile(
    r"--[a-z-]+|[A-Z_]{3,}|\{\w+\}|/[\w/-]+|\w+://[\w.:]+\w|\w+\.\w+|\b\d+\w*"
    r"|\b(?:why --since|blame --since|blame FILE|auto|ndjson|ebpf|lo|pid|sock_diag|node_exporter)\b"
)


@pytest.fixture(scope="module")
def catalogue():
    with CHINESE.open("rb") as file:
        return {one.id: one.string for one in read_po(file) if one.id}


def texts():
    """Every text of the help, as the catalogue has it."""
    group = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        yield from paragraphs(command.help)
        yield from (p.help for p in command.params if p.help and not getattr(p, "hidden", False))


def test_each_text_has_its_translation_and_none_is_left_over(catalogue):
    assert len(set(texts())) > 50
    assert set(texts()) | LIBRARY == catalogue.keys()
    assert all(catalogue.values())


def test_a_translation_has_the_options_names_and_numbers_of_its_text(catalogue):
    def kept(text):
        return sorted(set(KEPT.findall(text)))

    differ = {
        text: [word for word in kept(text) if word not in translated]
        for text, translated in catalogue.items()
        if any(word not in translated for word in kept(text))
    }
    assert differ == {}


def test_the_compiled_catalogue_is_that_of_the_text():
    """`make docs` renews it."""
    translations = help_language.gettext.translation(
        help_language.DOMAIN, str(help_language.FOLDER), languages=["zh_CN"]
    )
    with CHINESE.open("rb") as file:
        for one in read_po(file):
            if one.id:
                assert translations.gettext(one.id) == one.string


def columns(line):
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in line)


def shown(*words, **variables):
    """What the help prints, in an environment with these variables only."""
    env = {"PATH": os.environ["PATH"], "COLUMNS": "80"} | variables
    command = [sys.executable, "-m", "xctl_probe", *words]
    return subprocess.run(command, capture_output=True, check=True, env=env).stdout


@pytest.mark.parametrize("name", ["LANG", "LC_ALL", "LC_MESSAGES", "LANGUAGE"])
def test_the_language_is_that_of_the_environment(name):
    text = shown("status", "--help", **{name: "zh_CN.UTF-8"}).decode()
    assert text.startswith("用法：xctl-probe-network status [OPTIONS] [pid]\n\n  显示本机上")
    assert "  --json             打印一个 JSON 对象。\n" in text
    assert "  -h, --help         显示本帮助并退出。\n" in text


def test_all_of_the_help_is_translated_within_the_columns():
    text = shown("--help", LANG="zh_CN.UTF-8").decode()
    lines = text.splitlines()
    assert max(map(columns, lines)) <= 80
    assert not [line for line in lines if line.lstrip()[:1] in set("，。；：、）")]
    for name in typer.main.get_command(app).commands:
        assert re.search(rf"^  {name} +[^\x00-\x7f]", text, re.MULTILINE)
    # Words of English are names, and choices.
    assert not re.search(r"\b(?:the|of|and|is|that)\b", text)


@pytest.mark.parametrize("language", ["en_US.UTF-8", "C", "zh_TW.UTF-8", "de_DE.UTF-8"])
def test_other_languages_have_english(language):
    assert shown("--help", LANG=language) == shown("--help")
    assert shown("--help").isascii()


def test_a_terminal_without_the_characters_has_english():
    english = shown("why", "-h")
    assert shown("why", "-h", LANG="zh_CN.UTF-8", PYTHONIOENCODING="ascii") == english
    assert shown("why", "-h", LANG="zh_CN", PYTHONIOENCODING="gb18030").decode("gb18030") == shown(
        "why", "-h", LANG="zh_CN.UTF-8"
    ).decode("utf-8")


@given(st.text(st.sampled_from("ab -.,，。）字停滞（"), max_size=40))
def test_gather_is_the_opposite_of_spread(text):
    assert gather(spread(text)) == text
    assert len(spread(text)) == columns(text)
