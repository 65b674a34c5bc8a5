"""`python3 -m xctl_probe`."""

from xctl_probe.cli import main

main()
