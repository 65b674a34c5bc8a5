"""Install each package in clean root file systems, and stream from it.

The kernel is this one; the programs and libraries are those of the suite.  What the records have
to hold is in `streams.py`.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from fresh.__main__ import DEBIAN, SUITES
from fresh.each import each_suite
from fresh.root import CHECKOUT, Root
from vm.apt import architecture

from . import contents

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
HERE = "/srv/packages"
WHEELS = "/srv/wheels"
INSTALL = "apt-get install -y -qq --no-install-recommends"
STREAMS = f"/usr/bin/python3 {CHECKOUT}/tests/packages/streams.py"
UNPRIVILEGED = "setpriv --reuid 65534 --regid 65534 --clear-groups"
# What is left of a package, but for the files of this test and those that a running systemd made.
LEFT = (
    "find / -xdev -name '*xctl*' -not -path '/srv/*' -not -path '/proc/*' -not -path '/var/log/*'"
    " -not -path '/run/*'"
    " -not -path '/etc/default/*' -not -name 'xctl-test*'"
)


def streams(command: str) -> str:
    """Return a script that takes records of the command, as root and as another user."""
    return f"{STREAMS} ebpf {command}\ncd /\n{UNPRIVILEGED} {STREAMS} sampler {command}"


def debian_package(root: Root) -> None:
    root.run(f"apt-get update -qq && {INSTALL} {HERE}/*_{architecture()}.deb")
    assert root.run("xctl-probe-network --version", capture=True) == (
        f"xctl-probe-network {VERSION}\n"
    )
    root.run(streams("xctl-probe-network"))
    # Each command imports modules that the stream does without.
    # By kernel, `tracepoint` or `tracepoint_files`.
    root.run("xctl-probe-network check | grep '^auto takes ebpf '")
    root.run("xctl-probe-network why $$ | grep '^[0-9]* sh: '")
    root.run(
        "xctl-probe-network --record /srv/ring --duration 2 >/srv/lines"
        " && xctl-probe-network top --replay /srv/ring >/srv/frames && test -s /srv/frames"
    )
    root.run(
        "test -s /usr/share/man/man1/xctl-probe-network.1.gz"
        " && grep -q WatchdogSec /lib/systemd/system/xctl-probe-network.service"
        " && ls /usr/share/bash-completion/completions/xctl-probe-network.bash"
        " /usr/share/zsh/vendor-completions/_xctl-probe-network"
        " /usr/share/fish/vendor_completions.d/xctl-probe-network.fish"
        " /usr/lib/xctl-probe-network/xctl_probe/__pycache__/cli.*.pyc"
    )
    root.run(f"{INSTALL} systemd systemd-sysv")
    print(root.boot(f"/usr/bin/python3 {CHECKOUT}/tests/packages/service.py"), flush=True)
    root.run("apt-get remove -y -qq xctl-probe-network && test ! -e /usr/lib/xctl-probe-network")
    root.run("apt-get purge -y -qq xctl-probe-network")
    assert (left := root.run(LEFT, capture=True)) == "", left


def single_file(root: Root) -> None:
    """With what the package has left installed: NumPy among it."""
    file = f"{HERE}/xctl-probe-network-{VERSION}.pyz"
    assert root.run(f"{file} --version", capture=True) == f"xctl-probe-network {VERSION}\n"
    root.run(streams(f"/usr/bin/python3 {file}"))


def wheel(root: Root) -> None:
    """With the distribution's NumPy, and without network."""
    root.run(
        f"{INSTALL} python3-venv && python3 -m venv --system-site-packages /srv/venv"
        f" && /srv/venv/bin/pip install -q --no-index --find-links {WHEELS} {HERE}/*.whl"
    )
    root.run(streams("/srv/venv/bin/xctl-probe-network"))


def _try(suite: str) -> str:
    """What was shown to work.

    Raises Unavailable where there is no archive, AssertionError where a package is wrong.
    """
    contents.check(ROOT / "dist")
    root = Root(suite, SUITES[suite], of_debian=suite in DEBIAN)
    try:
        root.copy((ROOT / "dist").iterdir(), HERE)
        root.copy((ROOT / "build/wheels").iterdir(), WHEELS)
        debian_package(root)
        single_file(root)
        wheel(root)
    finally:
        root.remove()
    return "package, single file and wheel stream, as root and without"


if __name__ == "__main__":
    sys.exit(each_suite("test-packages", __doc__, SUITES, _try))
