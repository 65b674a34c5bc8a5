"""Findings about sockets: one module for each kind of wait."""
