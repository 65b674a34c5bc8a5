"""The sampler: the source that needs no privilege; it reads sock_diag, or /proc/net."""
