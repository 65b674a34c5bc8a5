"""Property tests here try the same examples on every run: a failure is never luck."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("pure", derandomize=True, database=None, deadline=None, max_examples=150)
settings.load_profile("pure")
