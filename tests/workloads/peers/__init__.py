"""Peers that peer.py plays: a module for each one of tests/ebpf, a generator for each scene."""
