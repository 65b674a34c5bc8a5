"""What a socket speaks, from the first bytes of each direction: pure functions."""
