"""Postgres in the box: a private server on a data directory, for users without a server.

launcher.py starts and stops the server, and supervisor.py starts it again when it has ended. Each
of the other modules does one thing that they need: binaries.py finds Postgres' programs, cluster.py
makes and checks a data directory, lock.py locks it, access.py keeps other users away, postmaster.py
reads the state of a server, memory.py says how much memory it takes, process.py (with child.py)
runs a program that is never root and ends with us.
"""

from api.embedded.binaries import find_binaries, find_of_major
from api.embedded.cluster import version_of
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.launcher import EmbeddedPostgres
from api.embedded.postmaster import as_role, running_url
from api.embedded.supervisor import Supervisor

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "Supervisor",
    "as_role",
    "find_binaries",
    "find_of_major",
    "running_url",
    "version_of",
]
