"""`xctl-probe-network status`: the figures of running probes, and whether they are healthy."""
