"""The words of public claims and names with their frequencies, counted in the background.

A count reads all public records at one moment, so it never drifts, and it is written together with
the position in the feed that it goes up to: a crash loses at most one count. It is taken again once
something has changed, but all processes together spend at most a twentieth of the time on it. No
write waits for it. Words of hidden records are not counted.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

from api.core.background import again_and_again, meanwhile
from api.core.connection import LimitedConnection
from api.core.db import Connection, Database, Row
from api.core.large_input import in_thread
from api.core.sql import compose, render
from api.matching import counting
from api.matching.names import latin, sound
from schemas.vocabularies import RecordType

EVERY_SECONDS: Final = 1.0
FAILED_SECONDS: Final = 60.0
"""After a count that failed, a process takes no other for so long."""
LOCK: Final = 0x776F726473
"""The number of the advisory lock (“words” in ASCII): one process counts at a time."""
_TAKE_LOCK: Final = compose(counting.LOCK, number=f"{LOCK}")
_STEP: Final = 5_000
_COUNTED: Final = (RecordType.CLAIM, RecordType.SOURCE)


class Counts(NamedTuple):
    """What is known of the words of a record type."""

    records: int = 0
    words: int = 0  # in all records together
    dictionaries: tuple[str, ...] = ()  # of the languages of these records, the most used first
    counted_at: Any = None  # an instant; null if nothing was counted yet

    @classmethod
    def of(cls, row: Row | None) -> Counts:
        """Read them off a row of `word_counts`."""
        if row is None:
            return cls()
        return cls(row["records"], row["words"], tuple(row["dictionaries"]), row["counted_at"])


class Vocabulary:
    """Counts the words in the background."""

    def __init__(self, database: Database) -> None:
        """Start without having counted."""
        self._database = database
        self._tries_again = 0.0  # after a failure, on the monotonic clock

    def counting(self) -> AbstractAsyncContextManager[None]:
        """Count while the block runs."""
        return meanwhile(
            again_and_again(EVERY_SECONDS, self.count, "the words of records can't be counted")
        )

    async def count(self, *, at_once: bool = False) -> None:
        """Count the words of each record type that has changed, unless another process does.

        One that was counted a moment ago waits, unless it is to be counted `at_once`.
        """
        if time.monotonic() < self._tries_again and not at_once:
            return
        changed = await self._changed(at_once=at_once)
        if not changed:
            return
        self._tries_again = time.monotonic() + FAILED_SECONDS
        connection = await self._database.connect()
        try:
            for record_type in changed:
                began = time.monotonic()
                async with connection.transaction(isolation="repeatable_read"):
                    if not await connection.fetchval(_TAKE_LOCK):
                        break
                    await connection.allow_long_statements()
                    await _count(connection, record_type, began)
                if record_type is RecordType.SOURCE:
                    await _read_names(connection)
        finally:
            await connection.close()
        self._tries_again = 0.0

    async def _changed(self, *, at_once: bool) -> list[RecordType]:
        """List the types of which something has changed since they were counted."""
        found: list[RecordType] = []
        async with self._database.connection() as connection:
            if await connection.fetchval(counting.READ_ONLY):
                return found
            states = {
                each: await connection.fetchrow(*render(counting.STATE, record_type=each.value))
                for each in _COUNTED
            }
            newest = await connection.fetchval(counting.NEWEST) or 0
            for record_type, state in states.items():
                if state is None:
                    found.append(record_type)
                elif state["rests"] and not at_once:
                    continue
                elif newest != state["seq"]:
                    given = {"record_type": record_type.value, "seq": state["seq"]}
                    given |= {"newest": newest}
                    query = render(counting.CHANGED, **given)
                    if newest < state["seq"] or await connection.fetchval(*query):
                        found.append(record_type)
                    else:
                        await connection.execute(*render(counting.MOVE_ON, **given))
        return found


async def read_counts(connection: Connection, record_type: RecordType) -> Counts:
    """Read what is known of the words of a record type."""
    query = render(counting.STATE, record_type=record_type.value)
    return Counts.of(await connection.fetchrow(*query))


async def ages(database: Database) -> dict[str, float]:
    """Give the age of the counts in seconds, by record type; 0 where nothing has changed since."""
    return {row["record_type"]: row["seconds"] for row in await database.fetch(counting.AGES)}


async def _count(connection: LimitedConnection, record_type: RecordType, began: float) -> None:
    """Count the words of a record type, in the transaction of a connection."""
    # Changes that are numbered while the words are counted are counted again.
    newest = await connection.fetchval(counting.NEWEST) or 0
    at = await connection.fetchval("SELECT clock_timestamp()")
    if record_type is RecordType.CLAIM:
        records, words, dictionaries = await _count_claims(connection)
    else:
        await connection.execute(compose(counting.COUNT_NAMES, max_word=f"{counting.MAX_WORD}"))
        row = await connection.fetchrow(counting.TOTAL_OF_NAMES)
        records, words, dictionaries = row["records"], row["words"], []
    await connection.execute(
        *render(
            counting.KEEP,
            record_type=record_type.value,
            records=records,
            words=words,
            dictionaries=dictionaries,
            seq=newest,
            counted_at=at,
            seconds=time.monotonic() - began,
        )
    )


async def _count_claims(connection: LimitedConnection) -> tuple[int, int, list[str]]:
    installed = {row[0] for row in await connection.fetch(counting.INSTALLED)}
    rows = await connection.fetch(counting.LANGUAGES)
    languages: dict[str, list[str]] = {}
    undetermined = []
    for row in rows:
        if row["language"] in counting.UNDETERMINED:
            undetermined.append(row["language"])
            continue
        name = counting.DICTIONARIES.get(row["language"], counting.SIMPLE)
        languages.setdefault(name if name in installed else counting.SIMPLE, []).append(
            row["language"]
        )
    if undetermined:
        every = list(dict.fromkeys(counting.DICTIONARIES.values()))
        likeliest = await connection.fetchval(
            *render(
                counting.LIKELIEST,
                languages=undetermined,
                dictionaries=[name for name in every if name in installed],
            )
        )
        languages.setdefault(likeliest or counting.SIMPLE, []).extend(undetermined)
    for name, its in languages.items():
        given = {"languages": its, "dictionary": name}
        await connection.execute(*render(counting.COUNT_CLAIMS, **given))
    await connection.execute(*render(counting.FORGET_CLAIMS, dictionaries=list(languages)))
    records = sum(row["records"] for row in rows)
    return records, int(sum(row["words"] or 0 for row in rows)), list(languages)


async def _read_names(connection: LimitedConnection) -> None:
    """Note how the new words of names are written in Latin letters, and how they sound."""
    while True:
        rows = await connection.fetch(compose(counting.UNREAD, step=f"{_STEP}"))
        words = [row["word"] for row in rows]
        if not words:
            return
        letters, sounds = await in_thread(_read, words)
        await connection.execute(*render(counting.READ, words=words, latin=letters, sounds=sounds))


def _read(words: list[str]) -> tuple[list[str], list[str]]:
    return [latin(word) for word in words], [sound(word) for word in words]
