"""Who may do what, and see what: keys, scopes, visibility, limits, the audit log."""
