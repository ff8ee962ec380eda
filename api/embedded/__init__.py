"""Postgres in the box: a private server on a data directory, for who has none of their own.

launcher.py starts and stops it; the others each know one thing it needs: where the binaries are
(binaries.py), how a data directory is made and judged (cluster.py), who holds it (lock.py), what
a server says of itself (postmaster.py), how a program is run as a child that is never root and
dies with us (process.py and its other half, child.py).
"""

from api.embedded.binaries import find_binaries
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.launcher import EmbeddedPostgres
from api.embedded.postmaster import as_role, running_url

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "as_role", "find_binaries", "running_url"]
