"""The state of an import while it runs, and its transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from api.core.db import Connection
from api.core.errors import Problem
from api.core.request import Author
from api.settings import Settings
from api.sync.importing.spool import Spool

LineIds = Callable[[int], str]
"""Gives the id for the record of a line that names none, by the line's number."""
AdmissionCheck = Callable[[Connection], Awaitable[None]]
"""Raises a problem if the caller may write no more, because its key was revoked meanwhile."""


class Sender(NamedTuple):
    """What an import has to know about the request that brings its lines."""

    request_id: str = ""
    line_ids: LineIds | None = None
    check_admission: AdmissionCheck | None = None


@dataclass
class ImportRun:
    """One import."""

    connection: Connection
    author: Author
    settings: Settings
    atomic: bool
    dry_run: bool
    sender: Sender
    revoked: Problem | None = None  # the problem with which the rest of the lines is refused
    refusals: int = 0  # how many lines were refused so far
    applied: int = 0  # the last line that was applied
    refused: bool = False  # whether an atomic run refused a line, and so is refused as a whole
    results: list[Spool] = field(default_factory=list)  # each in the order of the lines
    late_results: list[Spool] = field(default_factory=list)  # as `results`, which they replace
    put_off: Spool = field(default_factory=Spool)  # to be checked at the end of an atomic run

    def close(self) -> None:
        """Remove the run's files."""
        for spool in (*self.results, *self.late_results, self.put_off):
            spool.close()

    async def prepare(self) -> None:
        """Give the transaction more time than a request has, and defer its link keys."""
        milliseconds = int(self.settings.import_statement_seconds * 1000)
        await self.connection.execute(
            f"SET LOCAL statement_timeout = {milliseconds}; SET CONSTRAINTS ALL DEFERRED"
        )

    @asynccontextmanager
    async def batch_transaction(self, *, deletes: bool) -> AsyncIterator[None]:
        """Hold a batch together: in a transaction, or in a savepoint of the run's own transaction.

        Link keys are deferred, because lines of a batch refer to each other. For deletions they are
        not, so that the error comes from the very line that is refused.
        """
        alone = not (self.atomic or self.dry_run)
        async with self.connection.transaction():
            if alone:
                await self.prepare()
            if deletes and not self.atomic:
                await self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            yield
            if self.dry_run and not self.atomic:
                await self.connection.execute(
                    "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
                )

    async def find_revocation(self) -> Problem | None:
        """Give the problem because of which no more lines are written; null if there is none.

        An atomic run raises it, because it must write nothing at all. Once found, it is kept: the
        database may be away when it is asked again.
        """
        if self.revoked is None and self.sender.check_admission is not None:
            try:
                await self.sender.check_admission(self.connection)
            except Problem as problem:
                if self.atomic:
                    raise
                self.revoked = problem
        return self.revoked
