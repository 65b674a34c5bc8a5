"""The single file: `python3 FILE`, or FILE itself.

It has all that the probe imports but NumPy, which only the sampler needs and the interpreter has
to bring.  Kept free of new syntax, so that an old python3 prints the one line below and no
traceback.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # first: imports take time

import sys

PYTHONS = ((3, 11), (3, 12), (3, 13))  # as in common.sh
USAGE_EXIT = 2

if sys.version_info[:2] not in PYTHONS:
    # No formatted literals: this line is for the oldest.
    sys.stderr.write(
        "xctl-probe-network: %s is Python %d.%d, and this file is for 3.11 to 3.13; "  # noqa: UP031
        "remedy: run it with one of these, or pip install the wheel\n"
        % ((sys.executable,) + sys.version_info[:2])  # noqa: RUF005
    )
    sys.exit(USAGE_EXIT)

from importlib.util import find_spec  # noqa: E402 - they need what was checked

import extensions  # noqa: E402

extensions.install(lambda path: __loader__.get_data(__loader__.archive + "/" + path))
if find_spec("orjson.orjson") is None:
    sys.stderr.write(
        "xctl-probe-network: this file is for x86-64 and arm64; remedy: pip install the wheel\n"
    )
    sys.exit(USAGE_EXIT)

from xctl_probe.start import main  # noqa: E402

main()
