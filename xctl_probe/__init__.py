"""xctl-probe-network: reports which process waits on the network, on which socket and why."""
