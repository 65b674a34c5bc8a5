"""Churn and soak: many sockets and processes for a long time, and every total compared."""
