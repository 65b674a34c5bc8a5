"""The README's pictures: `make pictures`."""
