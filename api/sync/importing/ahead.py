"""Prepare the next batch over a second connection, while Postgres writes the one before.

Lines see the lines before them all the same: a batch is prepared ahead only if nothing that is
being written decides about it, and it is prepared again if that was not written as it was planned.
Whatever fails here is left to the batch's own transaction, which tries it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from api.core.errors import Problem
from api.core.large_input import begun, in_thread, next_made
from api.sync.importing.lines import Entry
from api.sync.importing.preparing import Prepared, is_apart, look_up_lines, settle_batch
from api.sync.importing.state import ImportRun


class Step:
    """A batch on its way from being read to being written."""

    def __init__(self, batch: Sequence[Entry], prepared: Prepared | None = None) -> None:
        """Take over a batch; null if it has to be prepared in its transaction."""
        self.batch = batch
        self.prepared = prepared
        self.is_written = False  # as it was prepared
        self._is_known = asyncio.Event()
        if prepared is not None:
            self._is_known.set()

    def settle(self, prepared: Prepared) -> None:
        """Note what the batch comes to, so that the next one can be prepared."""
        self.prepared = prepared
        self._is_known.set()

    @property
    def known(self) -> Prepared:
        """What the batch comes to, after it was settled."""
        assert self.prepared is not None  # noqa: S101 - for the type checker
        return self.prepared

    def end(self) -> None:
        """Note that no more is done for the batch."""
        self._is_known.set()

    async def planned(self) -> Prepared | None:
        """Wait until it is known what is written; null if nothing was prepared."""
        await self._is_known.wait()
        return self.prepared


async def prepared_ahead(
    run: ImportRun, batches: Iterator[list[Entry] | None]
) -> AsyncGenerator[Step]:
    """Give batches; read the next one, and prepare it if it may be, while the last one is used.

    The iterator may give a null instead of a batch, so that its thread is free for other work. Use
    this with `aclosing`, so that nothing goes on after an error.
    """
    following = begun(_make(run, batches, None))
    try:
        step = await following
        while step is not None:
            following = begun(_make(run, batches, step if _may_be_ahead(run) else None))
            yield step
            step.end()
            after = await following
            if after is not None and not step.is_written:
                after = Step(after.batch)  # it was prepared for what did not come about
            step = after
    finally:
        following.cancel()
        await asyncio.wait([following])


def _may_be_ahead(run: ImportRun) -> bool:
    """Tell whether others can see what a batch has written before the next one is looked up."""
    return not run.in_one_transaction and run.table is None


async def _make(
    run: ImportRun, batches: Iterator[list[Entry] | None], before: Step | None
) -> Step | None:
    """Read the next batch; prepare it if the one before it decides nothing about it."""
    batch = await next_made(batches)
    if batch is None:
        return None
    plan = None if before is None else await before.planned()
    if plan is None or not await in_thread(is_apart, batch, plan):
        return Step(batch)
    try:
        async with run.beside() as other:
            looked_up = await look_up_lines(other, batch)
        return Step(batch, await in_thread(settle_batch, run, looked_up))
    except Problem:
        return Step(batch)
