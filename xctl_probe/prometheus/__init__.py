"""Records as metrics of Prometheus: by HTTP, and in a file for node_exporter."""
