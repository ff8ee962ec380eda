"""Writing a record: look up what is there, settle what is sent, store it."""
