"""The kernel programs, and the objects compiled from them."""
