"""Run an import, from its first line to its totals.

The lines are in a file, and so are the results: an answer that is written while its request is
still being read would block ordinary clients. The memory that is needed does not grow with the
number of lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing, closing
from typing import Final

from api.core.db import Database
from api.core.large_input import each_in_thread, read_ahead
from api.core.request import SERVICE, Author
from api.core.resource import Resource
from api.sync.importing.applying import apply_lines
from api.sync.importing.batches import LinesByType, NumberedLine
from api.sync.importing.late_checks import check_put_off
from api.sync.importing.results import Answer
from api.sync.importing.spool import Spool, numbered_lines
from api.sync.importing.state import ImportRun, Sender, TableOf
from api.sync.importing.stopping import ending_early, stopped
from api.sync.importing.tables.rows import numbered_rows, read_table
from schemas.imports import ImportTotals

_NOBODY: Final = Sender()


async def load(database: Database, lines: Iterable[bytes], *, atomic: bool = False) -> ImportTotals:
    """Write many records as the service itself, and give the totals."""
    with closing(Spool()) as body:
        for line in lines:
            body.write(line.rstrip(b"\n") + b"\n")
        with closing(await run_import(database, SERVICE, body, atomic=atomic)) as answer:
            return answer.totals()


async def run_import(
    database: Database,
    author: Author,
    body: Spool,
    *,
    atomic: bool = False,
    dry_run: bool = False,
    sender: Sender = _NOBODY,
    table_of: Resource | None = None,
) -> Answer:
    """Apply a file of lines, or a table of records of one type, and give the answer."""
    run = ImportRun(database, author, atomic, dry_run, sender)
    with ending_early(run, stopped):
        lines = await _lines(run, body, table_of)
        if atomic and run.table is None:
            committed = await _run_by_type(run, lines)
        elif run.in_one_transaction:
            committed = await _run_in_one_transaction(run, [lines])
        else:
            await apply_lines(run, lines)
            committed = True
    return Answer(run, committed=committed)


async def _lines(run: ImportRun, body: Spool, table_of: Resource | None) -> Iterable[NumberedLine]:
    """Give the lines of a file; a table is read to its end first, so that it can be refused."""
    settings = run.settings
    if table_of is None:
        return numbered_lines(body, settings.article_body_bytes)
    most = settings.article_body_bytes if table_of.large else settings.body_bytes
    async with aclosing(read_ahead(read_table(body, table_of, most))) as pieces:
        [heading] = [each async for each in pieces]
    run.table = TableOf(table_of, heading.columns)
    return numbered_rows(body, heading, most)


async def _run_by_type(run: ImportRun, lines: Iterable[NumberedLine]) -> bool:
    """Apply the lines of one record type after another, so that lines may refer to later lines."""
    with closing(LinesByType()) as by_type:
        async for _ in each_in_thread(by_type.sort(lines)):
            pass
        return await _run_in_one_transaction(run, by_type)


async def _run_in_one_transaction(run: ImportRun, parts: Iterable[Iterable[NumberedLine]]) -> bool:
    """Apply one part of the lines after another, and commit them all or none; tell which."""

    async def apply() -> bool:
        for lines in parts:
            await apply_lines(run, lines)
        if not run.atomic:
            return False
        run.refused = await check_put_off(run)
        await run.find_revocation()
        return not run.refused and not run.dry_run

    return await run.hold_together(apply)
