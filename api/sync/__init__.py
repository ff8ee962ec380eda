"""Records on the move: the change feed, webhooks, import, export and the mirror."""
