"""The programs that are evaluated, by name."""

from __future__ import annotations

from evaluation.programs.base import Program
from evaluation.programs.gloo import Gloo
from evaluation.programs.http import Http

PROGRAMS: dict[str, type[Program]] = {one.name: one for one in (Gloo, Http)}
