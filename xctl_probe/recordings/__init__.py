"""Recordings: the records of the last minutes, in a bounded ring of compressed files."""
