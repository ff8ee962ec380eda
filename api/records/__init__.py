"""The four records: what can be asked of each, and what can be done to it."""
