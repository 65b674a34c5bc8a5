"""How to set up each program, one file for each."""
