"""Real kernels under emulation, and the socket tests in each: see docs/testing.md."""
