"""`python3 -m xctl_probe`."""

from xctl_probe.start import main

main()
