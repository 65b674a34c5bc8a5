"""The programs that are evaluated, by name."""

from __future__ import annotations

from evaluation.programs.base import Program
from evaluation.programs.dask import Dask
from evaluation.programs.etcd import Etcd
from evaluation.programs.fetch import Fetch
from evaluation.programs.gloo import Ddp, Gloo
from evaluation.programs.grpc import Grpc
from evaluation.programs.http import Http, HttpLoop, Https
from evaluation.programs.languages import HttpGo, Languages
from evaluation.programs.mpi import Mpi
from evaluation.programs.nccl import Nccl
from evaluation.programs.nginx import Nginx
from evaluation.programs.postgres import Postgres
from evaluation.programs.ray import Ray
from evaluation.programs.redis import Redis
from evaluation.programs.rpc import Rpc
from evaluation.programs.zmq import Zmq

ALL = (
    Gloo,
    Ddp,
    Rpc,
    Nccl,
    Mpi,
    Http,
    HttpLoop,
    Https,
    Languages,
    HttpGo,
    Dask,
    Ray,
    Fetch,
    Grpc,
    Zmq,
    Redis,
    Etcd,
    Postgres,
    Nginx,
)
PROGRAMS: dict[str, type[Program]] = {one.name: one for one in ALL}
