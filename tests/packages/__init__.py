"""`make test-packages`: what is built for other machines, installed where nothing is."""
