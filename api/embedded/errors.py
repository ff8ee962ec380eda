"""The one error of this package."""


class EmbeddedPostgresError(Exception):
    """Say what keeps the embedded Postgres from running, and the way out."""
