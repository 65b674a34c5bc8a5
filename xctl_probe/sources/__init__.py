"""Where events come from: selection, interfaces, blind spots."""
