"""Records and their exporters."""
