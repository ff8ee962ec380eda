"""The soak: writers, crashes and readers, to show that the change feed loses nothing."""
