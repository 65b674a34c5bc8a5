"""What an installation brings for the shell: completion, and a man page."""

from __future__ import annotations

import pytest
from support.require import require_tools


@pytest.fixture
def bash(terminal, installed):
    """A shell with the installed completion, at its prompt."""
    require_tools("bash")
    prefix = installed.command.parents[1]
    script = prefix / "share/bash-completion/completions/xctl-probe-network.bash"
    start = f"PATH={installed.command.parent}:$PATH; PS1='ready '; . {script}"
    rc = prefix / "bashrc"
    rc.write_text(start)
    screen = terminal(command=["bash", "--noprofile", "--rcfile", str(rc), "-i"])
    screen.wait_for("ready")
    return screen


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("w", "why"), ("--stall", "--stall-ms"), ("--backend sa", "--backend sampler")],
)
def test_a_tab_completes(bash, typed, completed):
    """Commands, options, and what an option may be set to."""
    for part in ("xctl-probe-network ", typed, "\t"):
        bash.type_text(part)
    bash.wait_for(f"xctl-probe-network {completed}")


def test_the_man_page_is_where_man_samples(installed):
    """Below the prefix of the installation."""
    prefix = installed.command.parents[1]
    page = (prefix / "share/man/man1/xctl-probe-network.1").read_text()
    assert page.startswith(".TH XCTL-PROBE-NETWORK 1")
