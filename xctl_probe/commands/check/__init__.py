"""`xctl-probe-network check`: which sources work here, and what would make the others work."""
