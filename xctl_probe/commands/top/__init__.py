"""`xctl-probe-network top`: traffic, waits and errors, live in a terminal."""
