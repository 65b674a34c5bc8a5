"""`make test-fresh`: both commands of the README where nothing is installed."""
