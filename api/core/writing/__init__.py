"""Writing a record: look up what is stored, settle what was sent, and store it."""
