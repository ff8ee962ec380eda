"""The mirror: a copy of another instance, kept up to date by its public API."""
