#!/usr/bin/env python3
"""archive.py FOLDER FILE: FOLDER as an executable zip, the same bytes each time.

`zipapp` of the standard library keeps the order and the times of the file system, so two builds
differ.  SOURCE_DATE_EPOCH is the time of all files here.
"""

import os
import sys
import time
import zipfile
from pathlib import Path

# Of the environment, so that NumPy may come from a virtual environment.
INTERPRETER = b"#!/usr/bin/env python3\n"


def main() -> None:
    """Write the archive."""
    folder, target = map(Path, sys.argv[1:])
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with target.open("wb") as file:
        file.write(INTERPRETER)
        with zipfile.ZipFile(file, "w") as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date)
                    entry.external_attr = 0o100644 << 16
                    archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    target.chmod(0o755)


if __name__ == "__main__":
    main()
