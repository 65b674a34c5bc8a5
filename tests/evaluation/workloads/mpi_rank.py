"""A rank of an Open MPI job (mpi4py).  Arguments: folder of the FIFOs, own work in s, its kind."""

import os
import sys

folder, work_s, kind = sys.argv[1:4]
rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
for number, ending, how in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY)):
    fd = os.open(os.path.join(folder, f"rank{rank}.{ending}"), how)
    os.dup2(fd, number)
    os.close(fd)

import job  # noqa: E402
from workload import emit  # noqa: E402

emit(pid=os.getpid())

from array import array  # noqa: E402

from mpi4py import MPI  # noqa: E402

world = MPI.COMM_WORLD
mine, sums = array("d", [1.0] * 50_000), array("d", [0.0] * 50_000)
emit(ready=True)
job.run(rank, float(work_s), kind, lambda: world.Allreduce(mine, sums))
