"""Crossing relations: the other source may by now state what an unmerge gives back.

Of two sources, one may state a symmetric relation to the other, and not both. While a source was
merged, another merge may have written the same relation on the other source. Then the relation that
would come back is written into the log of that merge as dropped, and comes back when that merge is
undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from api.core.db import Connection
from api.core.errors import pointer
from api.core.sql import render
from api.merging import log as merge_log
from api.merging.log import EntryState
from api.merging.references import SYMMETRIC, Content, Followed, leads_to
from schemas.vocabularies import RecordType

# The other source's relations, of which most are not there.
_STATED: Final = """
    SELECT w.place, w.id::text, l.owner_id::text AS other_id
    FROM json_to_recordset(:wanted::json) AS w(id uuid, place integer, other_id uuid, kind text)
    JOIN links AS l ON l.owner_id = w.other_id AND l.owner_type = 'source' AND l.link = 'relation'
        AND l.source_id = w.id AND l.label = w.kind"""
# What is added to the log of a merge would never be given back if the merge were undone meanwhile.
_NOT_UNDONE: Final = """
    SELECT m.id FROM source_merges AS m
    WHERE m.id = ANY(:ids::bigint[]) AND m.state <> 'undone'
    FOR SHARE SKIP LOCKED"""


class Crossing(NamedTuple):
    """A relation that a source can't state, because the other one states it."""

    place: int  # its index in the relations of the source
    item: Any  # as it was before the merge that set the two against each other
    merge_id: int | None  # that merge; null if an editor did it
    replaced_id: int | None = None  # its entry, if it has led this relation and not the other one


async def find_crossings(
    connection: Connection, stored: Mapping[str, Content], new: Mapping[str, Content]
) -> dict[str, list[Crossing]]:
    """Find the relations that sources are about to state and the other side states already."""
    wanted = [
        {"id": identity, "place": place, "other_id": item["source_id"], "kind": item["kind"]}
        for identity, content in new.items()
        for place, item in enumerate(content.get("relations", ()))
        if item["kind"] in SYMMETRIC and item not in stored[identity]["relations"]
    ]
    if not wanted:
        return {}
    query = render(_STATED, wanted=msgspec.json.encode(wanted).decode())
    rows = await connection.fetch(*query)
    both = {row[name] for row in rows for name in ("id", "other_id")}
    entries = await merge_log.read(connection, RecordType.SOURCE, both)
    found: dict[str, list[Crossing]] = {}
    for row in rows:
        item = new[row["id"]]["relations"][row["place"]]
        kind, place = item["kind"], row["place"]
        of_other = [e for e in entries[row["other_id"]] if leads_to(e, row["id"], kind)]
        own = [e for e in entries[row["id"]] if leads_to(e, row["other_id"], kind)]
        if of_other:
            crossing = Crossing(place, item, of_other[-1].merge_id)
        elif own:
            before = {**item, "source_id": own[-1].source_id}
            crossing = Crossing(place, before, own[-1].merge_id, own[-1].id)
        else:
            crossing = Crossing(place, item, None)
        found.setdefault(row["id"], []).append(crossing)
    return found


async def can_be_set_aside(connection: Connection, work_id: int, some: list[Crossing]) -> bool:
    """Tell whether the merges that set relations against each other stand, until this ends.

    That one which is being undone does not, nor does one that another process undoes.
    """
    ids = {each.merge_id for each in some if each.merge_id is not None}
    if work_id in ids:
        return False
    return len(await connection.fetch(*render(_NOT_UNDONE, ids=list(ids)))) == len(ids)


async def set_aside(
    connection: Connection, work_id: int, identity: str, content: Content, some: list[Crossing]
) -> Content:
    """Leave crossing relations of a source out of it, and let the logs tell where they stood."""
    out = {each.place for each in some}
    relations = [item for place, item in enumerate(content["relations"]) if place not in out]
    for each in some:
        path = pointer(("relations", each.place, "source_id"))
        left = [(identity, [Followed(path, each.item, len(relations), dropped=True)])]
        state = EntryState.STANDING if each.merge_id else EntryState.CHANGED
        merge_id = each.merge_id or work_id
        await merge_log.add(connection, merge_id, RecordType.SOURCE, left, state)
    replaced = [each.replaced_id for each in some if each.replaced_id is not None]
    await merge_log.settle(connection, EntryState.PASSED, replaced)
    return {**content, "relations": relations}
