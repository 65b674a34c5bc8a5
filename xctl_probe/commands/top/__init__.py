"""`xctl-probe-network top`: who moves and who waits, live in a terminal."""
