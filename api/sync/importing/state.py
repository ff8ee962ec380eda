"""The state of an import while it runs, and its transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import asyncpg

from api.core.db import Connection, Database
from api.core.errors import Problem
from api.core.request import Author
from api.core.resource import Resource
from api.exchange.columns import Column
from api.settings import Settings
from api.sync.importing.named import StandIns, new_stand_ins
from api.sync.importing.spool import Spool

MAX_TURN_SECONDS: Final = 60.0
"""How long a run that has applied lines may wait for its next turn at the database."""
LineIds = Callable[[int], str]
"""Gives the id for the record of a line that names none, by the line's number."""
AdmissionCheck = Callable[[Connection], Awaitable[None]]
"""Raises a problem if the caller may write no more, because its key was revoked meanwhile."""


class Sender(NamedTuple):
    """What an import has to know about the request that brings its lines."""

    request_id: str = ""
    line_ids: LineIds | None = None
    check_admission: AdmissionCheck | None = None


class TableOf(NamedTuple):
    """The table that an import brings: the type of its records, and its columns."""

    resource: Resource
    columns: Sequence[Column]


@dataclass
class ImportRun:
    """One import."""

    database: Database
    author: Author
    atomic: bool
    dry_run: bool
    sender: Sender
    revoked: Problem | None = None  # the problem with which the rest of the lines is refused
    refusals: int = 0  # how many lines were refused so far
    reached: int = 0  # the last line that was written, maybe without being committed
    applied: int = 0  # the last line that was committed, unless all are committed together
    committing: bool = False  # whether a commit has begun of which the outcome is not known yet
    refused: bool = False  # whether an atomic run refused a line, and so is refused as a whole
    results: list[Spool] = field(default_factory=list)  # each in the order of the lines
    late_results: list[Spool] = field(default_factory=list)  # as `results`, which they replace
    put_off: Spool = field(default_factory=Spool)  # to be checked at the end of an atomic run
    stand_ins: StandIns = field(default_factory=new_stand_ins)
    table: TableOf | None = None  # null if lines are imported
    _connection: Connection | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the service."""
        return self.database.settings

    @property
    def shows_cells(self) -> bool:
        """Tell whether the answer has a line for each cell, not for each row."""
        return self.dry_run and self.table is not None

    @property
    def in_one_transaction(self) -> bool:
        """Tell whether all lines are written in one transaction, or each batch in its own."""
        return self.atomic or self.dry_run

    @property
    def connection(self) -> Connection:
        """The connection that the run holds now."""
        assert self._connection is not None  # noqa: S101 - for the type checker
        return self._connection

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Hold a connection until the end of the block.

        A run that has applied lines waits longer for it than others: it can't start over.
        """
        seconds = self.settings.import_statement_seconds
        turn_seconds = MAX_TURN_SECONDS if self.applied else None
        async with self.database.connection(seconds, turn_seconds) as connection:
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[ImportRun]:
        """Give the same run over a second connection, to look up what it writes next."""
        async with self.database.connection() as connection:
            yield replace(self, _connection=connection)

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

    async def hold_together(self, work: Callable[[], Awaitable[bool]]) -> bool:
        """Do a whole run in one transaction, and keep it if `work` says so; tell whether it did."""
        async with self.connected():
            transaction = self.connection.transaction()
            await transaction.start()
            keeps = False
            try:
                await self.prepare()
                if keeps := await work():
                    self.committing = True
                    await transaction.commit()
            finally:
                if not keeps:
                    with suppress(asyncpg.InterfaceError):  # the connection is lost
                        await transaction.rollback()
            return keeps

    @asynccontextmanager
    async def batch_transaction(self, last: int, *, deletes: bool) -> AsyncIterator[None]:
        """Hold a batch together: in a transaction, or in a savepoint of the run's own transaction.

        `last` is the number of its last line.

        Link keys are deferred, because lines of a batch refer to each other. For deletions they are
        not, so that the error comes from the very line that is refused.
        """
        alone = not self.in_one_transaction
        self.committing = False
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
            self.reached, self.committing = last, alone
        if alone:
            self.applied, self.committing = last, False

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
