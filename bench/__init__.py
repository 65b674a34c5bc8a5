"""What the probe costs, measured here: run by hand or by `make bench`, never as a test."""
