"""The kernel source: CO-RE programs loaded through libbpf."""
