"""Import of the compiled modules in the single file, without writing to the disk.

The dynamic linker opens files by path, and a zip has none.  A file in memory has one:
/proc/self/fd/N, memfd_create(2).  Its descriptor stays open, because the linker takes a second
module at the same path for the first.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location

MACHINE = os.uname().machine  # their folder in the archive


class InMemory(MetaPathFinder):
    """Finds what `read` has for this interpreter.

    `read` takes a path in the archive; it returns bytes, or raises OSError where there is none.
    """

    def __init__(self, read) -> None:
        self._read = read

    def find_spec(self, fullname, path, target=None) -> ModuleSpec | None:  # noqa: ARG002
        """Return where the module is loaded from, None where the archive has none."""
        place = f"{MACHINE}/{fullname.replace('.', '/')}"
        for suffix in EXTENSION_SUFFIXES:
            try:
                image = self._read(place + suffix)
            except OSError:
                continue
            file = f"/proc/self/fd/{_in_memory(fullname, image)}"
            loader = ExtensionFileLoader(fullname, file)
            return spec_from_file_location(fullname, file, loader=loader)
        return None


def install(read) -> None:
    """Let imports find the modules, after those that the interpreter finds itself."""
    sys.meta_path.append(InMemory(read))


def _in_memory(name: str, image: bytes) -> int:
    descriptor = os.memfd_create(name)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(image)
    return descriptor
