"""Import of the distribution's bcc from any environment.

"bcc" of PyPI is an unrelated package.  The right one belongs to the system's Python (python3-bpfcc,
python3-bcc) and is not visible in a virtual environment.  It is imported from its own folder, so
that no other package of the system is.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from xctl_probe.errors import SourceUnavailable

_MISSING = "bcc is not installed: install python3-bpfcc (apt) or python3-bcc (dnf)"


def _places() -> list[Path]:
    """Return the folders of Python packages of distributions: Debian, then others."""
    return [
        Path("/usr/lib/python3/dist-packages"),
        *Path("/usr/lib").glob("python3*/site-packages"),
    ]


def find(path: Iterable[str] | None = None, places: Iterable[Path] | None = None) -> Path:
    """Return the folder of the package.  Raises SourceUnavailable."""
    wanted = [Path(entry) for entry in (sys.path if path is None else path) if entry]
    for place in [*wanted, *(_places() if places is None else places)]:
        folder = place / "bcc"
        if (folder / "libbcc.py").exists():
            return folder
    raise SourceUnavailable(_MISSING)


def load(folder: Path) -> ModuleType:
    """Import the package from this folder only.  Raises SourceUnavailable."""
    known = sys.modules.get("bcc")
    if known is not None and Path(known.__file__ or "").parent == folder:
        return known
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module  # its modules import it by this name
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError, AttributeError) as error:
        del sys.modules["bcc"]
        msg = f"bcc cannot be loaded ({error}): reinstall python3-bpfcc (apt) or python3-bcc (dnf)"
        raise SourceUnavailable(msg) from None
    return module
