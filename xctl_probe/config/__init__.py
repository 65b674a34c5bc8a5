"""Settings from options, `XCTL_NETWORK_*` variables and a TOML file, with their checks."""
