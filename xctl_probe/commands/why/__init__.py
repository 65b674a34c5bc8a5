"""`xctl-probe-network why PID`: one process, explained in plain words."""
