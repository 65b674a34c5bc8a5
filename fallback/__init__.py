"""The sampler: the source that needs no privilege; it reads sock_diag, or /proc/net."""

import os

# Nothing here uses linear algebra: its library would start a thread for each CPU with NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
