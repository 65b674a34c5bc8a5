"""The sampler: what any user may read, from sock_diag and /proc/net."""
