"""Property tests here try the same examples on every run: a failure is never luck."""

from __future__ import annotations

import pytest
from hypothesis import settings

from xctl_probe.linux import capability_sets

settings.register_profile("pure", derandomize=True, database=None, deadline=None, max_examples=150)
settings.load_profile("pure")


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """What commands that run inside the tests keep: the process of the tests gives up nothing."""
    asked: list[set[str]] = []
    monkeypatch.setattr(capability_sets, "forbid_new", lambda: None)
    monkeypatch.setattr(capability_sets, "set_effective", lambda _: None)
    monkeypatch.setattr(capability_sets, "keep_only", lambda names: asked.append(set(names)))
    return asked
