"""Is a wait for a reply the network's doing?  What the peer and the past say to all sources."""
