"""The programs that are evaluated, by name."""

from __future__ import annotations

from evaluation.programs.base import Program
from evaluation.programs.gloo import Ddp, Gloo
from evaluation.programs.http import Http, HttpLoop, Https
from evaluation.programs.nccl import Nccl

ALL = (Gloo, Ddp, Nccl, Http, HttpLoop, Https)
PROGRAMS: dict[str, type[Program]] = {one.name: one for one in ALL}
