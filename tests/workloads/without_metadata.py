"""Run the command where no installed metadata are beside its modules."""

from __future__ import annotations

import importlib.metadata
from typing import NoReturn

from xctl_probe.start import main


def _version(distribution_name: str) -> NoReturn:
    raise importlib.metadata.PackageNotFoundError(distribution_name)


if __name__ == "__main__":
    importlib.metadata.version = _version
    main()
