"""`xctl-probe-network check`: which sources work here, and what makes the others work."""
