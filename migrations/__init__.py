"""The database's schema, one migration after the other."""
