"""Read of sources what the protocol shows, and no more, of a bounded size together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from api.core.caller import READER
from api.core.db import Connection
from api.core.resource import MAX_PAGE_BYTES
from api.core.sql import compose, render
from schemas.scalars import Id

MAX_BYTES: Final = MAX_PAGE_BYTES // 2
"""Bytes of all that one request reads of sources."""
MAX_DESCRIPTION: Final = 200
"""Characters of a description that stand beside a name."""

Source = dict[str, Any]

_COLUMNS: Final = {
    "id": "t.id",
    "kind": "t.kind",
    "name": "t.name",
    "country_code": "t.country_code",
    "description": f"left(t.description, {MAX_DESCRIPTION})",
}
"""What is read of each source, by its name in the protocol."""
_IF_ASKED: Final = {
    "description": "t.description",
    "names": "t.names",
    "identification": "t.identification",
    "url": "t.url",
    "external_ids": "t.external_ids",
    "parent_id": "survivor_of(t.parent_id)",
}
"""What is read besides if it is asked for."""
_SOURCES: Final = """
    SELECT d.id, CASE WHEN sum(octet_length(d.source)) OVER (ORDER BY d.place) <= :room::bigint
            THEN d.source END AS source
    FROM (
        SELECT a.id::text AS id, a.place, json_build_object({columns})::text AS source
        FROM unnest(:ids::uuid[]) WITH ORDINALITY AS a(id, place)
        JOIN sources AS t ON t.id = survivor_of(a.id)
            AND t.deleted_at IS NULL AND :sees(source, t)
    ) AS d"""


async def read_sources(
    connection: Connection, ids: Iterable[str], properties: Iterable[str] = ()
) -> dict[str, Source | None]:
    """Read the sources of these ids that everybody may read, with some properties.

    The id of a merged source means its survivor. What is no id is left out. Null stands for a
    source that there was no room for.
    """
    known = [each for each in dict.fromkeys(ids) if _is_id(each)]
    asked = {key: _IF_ASKED[key] for key in properties if key in _IF_ASKED}
    columns = ", ".join(f"'{key}', {column}" for key, column in (_COLUMNS | asked).items())
    rows = await connection.fetch(
        *render(compose(_SOURCES, columns=columns), READER, ids=known, room=MAX_BYTES)
    )
    return {
        row["id"]: None if row["source"] is None else msgspec.json.decode(row["source"])
        for row in rows
    }


def _is_id(text: str) -> bool:
    try:
        msgspec.convert(text, Id)
    except msgspec.ValidationError:
        return False
    return True
