"""Streams of many hosts: their records around one moment, joined by connection."""
