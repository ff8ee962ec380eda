"""How records move in bulk: import, and later export, the change feed, webhooks."""
