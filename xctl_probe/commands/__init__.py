"""What a person types: check, top, trace, why."""
