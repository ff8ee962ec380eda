"""Merging: two sources become one, everything that names them follows, and all can be undone."""
