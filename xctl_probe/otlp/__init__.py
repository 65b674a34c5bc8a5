"""Records by OTLP/HTTP: metrics, and stalls and errors as events."""
