"""`xctl-probe-network why PID`: what one process waits for, with the evidence."""
