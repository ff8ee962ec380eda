"""Write one record by itself: look up, decide and store; start over when it changes meanwhile.

A write is at most two statements: one looks up all that has to be known (the record as it is, the
records that it refers to, the texts that its spans stand in), and one stores. The database may
change between the two; the version in the second statement and the keys of the link index notice
that, and the write starts over. Only a :class:`~api.core.resource.Consequence` takes more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg

from api.core.db import Connection
from api.core.errors import contended
from api.core.large_input import work_on
from api.core.request import Author
from api.core.resource import Resource
from api.core.writing.look_up import Current, Found, look_up
from api.core.writing.settle import Draft, InvalidRecord, Settled, settle
from api.core.writing.store import is_own_id, store
from schemas.base import Part

TRIES: Final = 5
"""How often a write starts over when the record changes under it, before it gives up."""


class Outcome(NamedTuple):
    """A record after a write."""

    id: str
    version: int
    doc: bytes = b""  # of a record that was not deleted
    created: bool = False


Decision: TypeAlias = tuple[str, Current | None, Draft | None]
"""The id of a record, how it is stored, and how it is wanted; null to delete it."""


class Write(NamedTuple):
    """What a request wants to be written."""

    author: Author
    resource: Resource
    decide: Callable[[Found], Decision]  # raises a problem if it is not to be written
    names: Mapping[str, Any]  # the ids or external ids to look for, as :func:`look_up` takes them
    sent: Part | None = None  # the body, which refers to other records to look up
    size: int = 0  # of the body, in bytes


def decide_and_settle(write: Write, found: Found) -> tuple[str, Current | None, Settled | None]:
    """Decide what to write, and settle the record; of a deletion there is nothing to settle."""
    resource = write.resource
    try:
        identity, current, wanted = write.decide(found)
    except InvalidRecord as invalid:
        stands = next(iter(found.current.values()), None)
        raise invalid.completed(resource, stands, found) from None
    if wanted is None:
        return identity, current, None
    return identity, current, settle(resource, identity, wanted, current, found)


async def write_record(connection: Connection, write: Write) -> Outcome:
    """Look up, decide and store a record; start over when it changes meanwhile."""
    author, resource, _, names, sent, size = write
    for _ in range(TRIES):
        found = await look_up(connection, author, resource, [sent] if sent else [], **names)
        total = size + found.size
        identity, current, settled = await work_on(total, decide_and_settle, write, found)
        assert settled is not None  # noqa: S101 - deletions have a statement of their own
        record, unchanged = settled
        if current is not None and unchanged:
            return Outcome(identity, current.version, current.doc)
        try:
            async with _savepoint(connection):
                row = await store(connection, author, resource, identity, current, record, total)
        except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
            continue  # one of its targets was deleted meanwhile; the next look-up tells which
        except asyncpg.UniqueViolationError as error:
            if current is not None or not is_own_id(error, resource):
                raise
            continue
        if row is not None:
            return Outcome(identity, row["version"], row["doc"], created=current is None)
    raise contended()


def _savepoint(connection: Connection) -> AbstractAsyncContextManager[object]:
    """Let a transaction go on after a database error; outside of one there is nothing to do."""
    return connection.transaction() if connection.is_in_transaction() else nullcontext()
