"""The subcommands: check, top, why, and `--trace`."""
