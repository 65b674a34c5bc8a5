"""The protocol of a socket, from the first bytes of each direction: pure functions."""
