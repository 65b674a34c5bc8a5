"""Print the modules that the import of one module loads: `loads.py MODULE`."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    import_module(sys.argv[1])
    print(*sorted(sys.modules.keys() - {"__main__"}))
