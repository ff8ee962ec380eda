"""Import: many records in one request."""
