"""The two pages for people: the start page and the interactive API documentation."""
