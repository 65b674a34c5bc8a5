"""Real kernels under emulation, and the socket tests in each: see README.md beside this."""
