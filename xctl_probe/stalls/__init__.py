"""What counts as a stall, for every source and for `why`."""
