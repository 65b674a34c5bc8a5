"""What the loopback tests stand on: namespaces, workers, the installed probe."""
