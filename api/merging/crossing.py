"""Crossing relations: what a merge gives back may be stated by the other source by now.

Of two sources, one may state a symmetric relation to the other, and not both. While a source was
merged, a later merge may have led a relation of the other one against it. Then what is given back
waits in the log of that later merge, as something that it has dropped, and comes back with it.
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


class Crossing(NamedTuple):
    """A relation that a source can't state, because the other one states it."""

    place: int  # its index in the relations of the source
    item: Any
    merge_id: int | None  # the merge that led the other one's against it; null if an editor did it


async def find_crossings(
    connection: Connection, stored: Mapping[str, Content], new: Mapping[str, Content]
) -> dict[str, list[Crossing]]:
    """Find relations that some sources are about to state, and that the others state, by source."""
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
    others = {row["other_id"] for row in rows}
    entries = await merge_log.read(connection, RecordType.SOURCE, others)
    found: dict[str, list[Crossing]] = {}
    for row in rows:
        item = new[row["id"]]["relations"][row["place"]]
        led = [e for e in entries[row["other_id"]] if leads_to(e, row["id"], item["kind"])]
        merge_id = led[-1].merge_id if led else None
        found.setdefault(row["id"], []).append(Crossing(row["place"], item, merge_id))
    return found


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
    return {**content, "relations": relations}
