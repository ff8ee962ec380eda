"""Access: keys, admission, limits, the audit log, embargoes and identities."""
