"""Readers of kernel interfaces; no policy."""
