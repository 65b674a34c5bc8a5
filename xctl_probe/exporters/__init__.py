"""Records, and the ways to write them."""
