"""Write invented records into a database, with `COPY` and through the triggers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec
import records  # beside this file

from schemas.base import Create

BATCH: Final = 5_000


class Kind(NamedTuple):
    """A record type, and how its records are invented."""

    table: str
    number: int  # as in `records.record_id`
    struct: type[Create]
    invent: Callable[[int], dict[str, Any]]


async def fill(connection: asyncpg.Connection, kind: Kind, count: int) -> None:
    """Write the records of a kind that are missing, up to a number."""
    last = await connection.fetchval(f"SELECT id FROM {kind.table} ORDER BY id DESC LIMIT 1")
    first = last.int % 2**32 + 1 if last else 0
    for start in range(first, count, BATCH):
        rows = _rows(kind, range(start, min(start + BATCH, count)))
        columns = ("id", *kind.struct.__struct_fields__)
        await connection.copy_records_to_table(kind.table, records=rows, columns=columns)


def _rows(kind: Kind, numbers: range) -> Iterator[tuple[Any, ...]]:
    """Write records as rows of a table, with every property spelled out."""
    for number in numbers:
        record = msgspec.to_builtins(msgspec.convert(kind.invent(number), kind.struct))
        values = (
            msgspec.json.encode(value).decode()
            if name != "tags" and isinstance(value, (dict, list))
            else value
            for name, value in record.items()
        )
        yield (records.record_id(kind.number, number), *values)
