"""Sources of events: selection, interfaces, blind spots."""
