"""`xctl-probe-network profile PID`: the system calls of one process, and what it is bound by."""
