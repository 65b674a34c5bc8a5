"""Bytes that no kernel would send, to everything that reads bytes: nothing but clean errors."""
