"""The error that this package raises."""


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot run; the message says why and what helps."""
