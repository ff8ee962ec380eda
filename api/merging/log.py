"""The log of merges: the references that each merge has changed, so that it can be undone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from api.core.db import Connection
from api.core.sql import render
from api.merging.references import Entry, Followed, named_by_dropped
from schemas.vocabularies import RecordType, Vocabulary


class EntryState(Vocabulary):
    """What became of a reference? Each entry of the log has one of these states."""

    STANDING = "standing", "The merge has changed the reference to the survivor, or dropped it."
    RESTORED = "restored", "The unmerge has given the reference back."
    CHANGED = "changed", "Somebody has changed the reference or its record, so it stays as it is."
    PASSED = (
        "passed",
        "An earlier merge was undone, which gave back the reference that this merge had changed.",
    )


_ADD: Final = """
    INSERT INTO source_merge_references (
        merge_id, record_type, record_id, at_path, item, item_count, dropped, state
    )
    SELECT :merge_id, :record_type, r.record_id, r.path, r.item, r.item_count, r.dropped, :state
    FROM json_to_recordset(:rows::json) AS r(
        record_id uuid, path text, item json, item_count integer, dropped boolean
    )"""
_READ: Final = """
    SELECT r.id, r.merge_id, r.record_id::text, r.at_path, r.item::text, r.item_count, r.dropped,
           m.source_id::text, m.survivor_id::text
    FROM source_merge_references AS r
    JOIN source_merges AS m ON m.id = r.merge_id
    WHERE r.record_id = ANY(:ids::uuid[]) AND r.record_type = :record_type
        AND r.state = 'standing'
    ORDER BY r.id"""
_MOVE: Final = """
    UPDATE source_merge_references AS r SET at_path = p.path
    FROM unnest(:ids::bigint[], :paths::text[]) AS p(id, path)
    WHERE r.id = p.id"""
_SETTLE: Final = """
    UPDATE source_merge_references SET state = :state WHERE id = ANY(:ids::bigint[])"""


async def add(
    connection: Connection,
    merge_id: int,
    record_type: RecordType,
    followed: Iterable[tuple[str, Sequence[Followed]]],
    state: EntryState = EntryState.STANDING,
) -> None:
    """Add the references that a merge has changed in records of one type, with their state."""
    rows: list[dict[str, Any]] = [
        {"record_id": identity, **each._asdict()} for identity, some in followed for each in some
    ]
    if rows:
        encoded = msgspec.json.encode(rows).decode()
        query = render(
            _ADD,
            merge_id=merge_id,
            record_type=record_type.value,
            rows=encoded,
            state=state.value,
        )
        await connection.execute(*query)


async def read(
    connection: Connection, record_type: RecordType, ids: Collection[str]
) -> dict[str, list[Entry]]:
    """Read the log entries about some records, by record, for all merges that were not undone."""
    found: dict[str, list[Entry]] = {identity: [] for identity in ids}
    query = render(_READ, ids=list(ids), record_type=record_type.value)
    for row in await connection.fetch(*query):
        item = None if row["item"] is None else msgspec.json.decode(row["item"])
        followed = Followed(row["at_path"], item, row["item_count"], row["dropped"])
        named = named_by_dropped(followed) or row["source_id"]
        found[row["record_id"]].append(
            Entry(row["id"], row["merge_id"], named, row["survivor_id"], followed)
        )
    return found


async def move(connection: Connection, paths: Mapping[int, str]) -> None:
    """Say where references stand now."""
    if paths:
        query = render(_MOVE, ids=list(paths), paths=list(paths.values()))
        await connection.execute(*query)


async def settle(connection: Connection, state: EntryState, ids: Sequence[int]) -> None:
    """Store what became of some references."""
    if ids:
        await connection.execute(*render(_SETTLE, state=state.value, ids=ids))
