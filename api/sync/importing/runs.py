"""Run an import, from its first line to its totals.

The lines are in a file, and so are the results: an answer that is written while its request is
still being read would block ordinary clients. The memory that is needed does not grow with the
number of lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Final

import asyncpg

from api.core.db import Database
from api.core.errors import Problem
from api.core.large_input import each_in_thread
from api.core.request import SERVICE, Author
from api.sync.importing.applying import apply_lines
from api.sync.importing.batches import LinesByType, NumberedLine
from api.sync.importing.late_checks import check_put_off
from api.sync.importing.results import Answer
from api.sync.importing.spool import Spool, numbered_lines
from api.sync.importing.state import ImportRun, Sender
from api.sync.importing.stopping import stopped
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
) -> Answer:
    """Apply a file of lines, and give the answer."""
    lines = numbered_lines(body, database.settings.article_body_bytes)
    run = ImportRun(database, author, atomic, dry_run, sender)
    try:
        if atomic:
            committed = await _run_by_type(run, lines)
        elif dry_run:
            committed = await _run_in_one_transaction(run, [lines])
        else:
            await apply_lines(run, lines)
            committed = True
    except Problem as problem:
        run.close()
        raise stopped(run, problem) from problem.__cause__
    except BaseException:
        run.close()
        raise
    return Answer(run, committed=committed)


async def _run_by_type(run: ImportRun, lines: Iterable[NumberedLine]) -> bool:
    """Apply the lines of one record type after another, so that lines may refer to later lines."""
    with closing(LinesByType()) as by_type:
        async for _ in each_in_thread(by_type.sort(lines)):
            pass
        return await _run_in_one_transaction(run, by_type)


async def _run_in_one_transaction(run: ImportRun, parts: Iterable[Iterable[NumberedLine]]) -> bool:
    """Apply one part of the lines after another, and commit them all or none; tell which."""
    async with run.connected():
        transaction = run.connection.transaction()
        await transaction.start()
        committed = False
        try:
            await run.prepare()
            for lines in parts:
                await apply_lines(run, lines)
            if run.atomic:
                run.refused = await check_put_off(run)
                await run.find_revocation()
                committed = not run.refused and not run.dry_run
            if committed:
                run.committing = True
                await transaction.commit()
        finally:
            if not committed:
                with suppress(asyncpg.InterfaceError):  # the commit itself failed
                    await transaction.rollback()
        return committed
