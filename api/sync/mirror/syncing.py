"""Syncing: `claim-records mirror` makes a copy of another instance and keeps it up to date.

It takes the export, then follows the change feed from the cursor in the export's first line. Three
rules make the copy right, whatever happens in between:

- The cursor is stored in the transaction that applies the changes before it. If the process is
  killed, it goes on where it was, and applies nothing twice.
- A record is written only over a lower version of itself, and dropped only if it is not newer than
  the deletion. So it does no harm that the feed repeats changes that the export already has.
- If an export is cut off, it is taken again, but the feed is followed from the *first* cursor. A
  record that was deleted between the two exports is in neither of them: only the feed tells of it,
  and otherwise it would stay in the copy for ever.

When the feed cannot go on from a cursor (410), and when the copy was made for another key or for
other types, a new generation of the copy begins with a new export. Records that are not in that
export are dropped at its end, so that readers never see an empty copy.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Collection
from typing import Final

from api.access.keyring import identity_of
from api.sync.mirror.copies import Copy, Phase, State, open_copy
from api.sync.mirror.errors import MirrorError, ResyncRequired
from api.sync.mirror.source import WAIT_SECONDS, Source, connect
from api.sync.remote import TransientFailure
from schemas.vocabularies import RecordType

_FIRST_PAUSE: Final = 0.5
_MAX_PAUSE: Final = 30.0
_MAX_RETRY_AFTER: Final = 3_600.0

_FORMERLY_ALL: Final = "source,article,claim,denial"
"""The types in the state of a copy of all records that an older version made; now they are ""."""

log = logging.getLogger("claim_records.mirror")


def run(
    url: str, target: str, key: str | None, types: Collection[RecordType], *, once: bool
) -> int:
    """Mirror until the work is done, and give 0, or until a signal comes, and give its number."""
    signals: list[int] = []

    async def until_stopped() -> None:
        work = asyncio.create_task(mirror(url, target, key, types, once=once))

        def stop(number: int) -> None:
            signals.append(number)
            work.cancel()  # a transaction that has begun is rolled back

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            await work
        except asyncio.CancelledError:
            if not signals:
                raise

    asyncio.run(until_stopped())
    return signals[0] if signals else 0


async def mirror(
    url: str, target: str, key: str | None, types: Collection[RecordType], *, once: bool = False
) -> None:
    """Make a copy of an instance, and keep it up to date; with `once`, until it is up to date.

    Without types it is a copy of all records, and of those of types that the source gets later.
    """
    names = ",".join(record_type for record_type in RecordType if record_type in types)
    async with connect(url, key) as client, open_copy(target) as copy:
        reader = identity_of(key or "") or ""
        sync = Mirror(Source(client, str(client.base_url), names, reader), copy, once=once)
        reporting = asyncio.create_task(sync.progress.report())
        try:
            await sync.run()
        finally:
            reporting.cancel()
            sync.progress.log()


class Mirror:
    """One run of the command."""

    def __init__(self, source: Source, copy: Copy, *, once: bool) -> None:
        """Take a source, and a copy that no other mirror writes to."""
        self.progress = Progress()
        self._source = source
        self._copy = copy
        self._once = once
        self._state: State | None = None
        self._anew = False
        self._up_to_date = False
        self._failures = 0  # in a row

    async def run(self) -> None:
        """Make the copy or go on with it, and follow the source."""
        self._state = await self._copy.state()
        if self._state is not None and self._state.source != self._source.url:
            raise MirrorError(f"This is a copy of {self._state.source}; name another target.")
        wanted = self._source.types, self._source.reader
        if self._state is not None and (self._state.types, wanted[0]) == (_FORMERLY_ALL, ""):
            self._state = self._state._replace(types="")
        if self._state is not None and (self._state.types, self._state.reader) != wanted:
            self._anew = True
            log.info("A new export is needed: the types or the key are not those of the last run")
        done = False
        while not done:
            try:
                done = await self._go_on()
            except ResyncRequired as reason:
                self._anew = True
                await self._pause(f"A new export is needed: {reason}", 0)
            except TransientFailure as reason:
                await self._pause(str(reason), reason.seconds)

    async def _go_on(self) -> bool:
        """Take the export, or one page of the feed; tell whether the work is done."""
        state = self._state
        if state is None or self._anew or state.phase is Phase.COPYING:
            await self._copy_export()
            return False
        page = await self._source.changes(state.cursor, WAIT_SECONDS if self._up_to_date else 0)
        rows = page.rows
        self._state = state._replace(cursor=page.next_cursor)
        if self._state != state:
            await self._copy.apply(rows, self._state)
        self._failures = 0
        self.progress.changes += len(rows)
        self._up_to_date = page.up_to_date
        self.progress.stage = "up to date" if page.up_to_date else "catching up"
        return self._once and page.up_to_date

    async def _copy_export(self) -> None:
        """Copy a new export, or take an export that was cut off once more."""
        async with self._source.export() as export:
            state = self._state
            if state is None or self._anew:
                generation = state.generation + 1 if state else 1
                state = State(
                    self._source.url,
                    self._source.types,
                    self._source.reader,
                    export.cursor,
                    generation,
                    Phase.COPYING,
                )
                await self._copy.begin(state)
                self._state, self._anew = state, False
            self.progress.records, self.progress.stage = 0, "copying"
            async for rows in export.batches:
                await self._copy.keep(rows, state.generation)
                self.progress.records += len(rows)
        self._state = state._replace(phase=Phase.FOLLOWING)
        await self._copy.finish(self._state)

    async def _pause(self, reason: str, retry_after: float) -> None:
        """Log why, and wait: longer after each failure, and a different time in each mirror."""
        self._up_to_date = False
        longest = min(_MAX_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 10))
        pause = max(longest * random.uniform(0.5, 1), min(retry_after, _MAX_RETRY_AFTER))  # noqa: S311 - no secret
        self._failures += 1
        log.warning("%s Going on in %.1f s", reason, pause)
        await asyncio.sleep(pause)


class Progress:
    """How far a mirror is; logged at most once a second, and only if it has changed."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.records = 0
        self.changes = 0
        self.stage = "connecting"
        self._last_line = ""

    async def report(self) -> None:
        """Log the progress each second, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.log()

    def log(self) -> None:
        """Log the progress, unless nothing has changed since the last line."""
        line = f"{self.records:,} records copied, {self.changes:,} changes applied; {self.stage}"
        if line != self._last_line:
            self._last_line = line
            log.info(line)
