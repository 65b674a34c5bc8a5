"""`xctl-probe-network blame`: whom stalled processes wait for, in the end."""
