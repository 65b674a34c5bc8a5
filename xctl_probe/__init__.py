"""xctl-probe-network: which process waits on the network, where, how long and why."""
