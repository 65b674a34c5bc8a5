"""Real programs, injected faults and what the probe reports of them: precision, recall, causes."""
