"""Serve the two pages for people: the landing page and the interactive API documentation."""
