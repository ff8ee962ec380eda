"""Names: what people call the records that a table names, as the caller sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from api.core.caller import Caller
from api.core.db import Row
from api.core.sql import compose, plural, render
from schemas.vocabularies import RecordType

_NAME: Final = {
    RecordType.SOURCE: "coalesce(t.name, t.description)",
    RecordType.ARTICLE: "t.headline",
}
"""What a record is called, in SQL; for every other type it is the text."""
_NAMES: Final = """
    SELECT t.id::text AS id, left({name}, {most}) AS name FROM {table} AS t
    WHERE t.id = ANY(:ids::text::uuid[]) AND t.deleted_at IS NULL AND :sees({type}, t)"""
MAX_NAME: Final = 200
"""How many characters of a name or a text are shown where another record names it."""
MAX_NAMED: Final = 20
"""How many records one cell names; if there are more, an ellipsis says so."""
MAX_RESPONDERS: Final = 3
"""How many responders of one response are named, likewise."""
_RESPONSES: Final = """
    SELECT c.id::text AS claim_id, r.kind, r.validity, r.responders
    FROM unnest(:ids::text::uuid[]) AS c(id)
    CROSS JOIN LATERAL (
        SELECT t.kind, t.validity, t.first_source_ids[1:{responders}]::text[] AS responders
        FROM links AS l JOIN denials AS t ON t.id = l.owner_id
        WHERE l.claim_id = c.id AND l.owner_type = 'denial' AND l.link = 'target'
            AND t.deleted_at IS NULL AND :sees(denial, t)
        GROUP BY t.id
        ORDER BY t.created_at, t.id
        LIMIT {limit}
    ) AS r"""


def hops_at_end(hops: Sequence[Mapping[str, Any]], *, origin: bool = False) -> list[Any]:
    """Give the hops of a chain that are nearest to the reader, or nearest to the origin."""
    if not hops:
        return []
    place = (max if origin else min)(hop["position"] for hop in hops)
    return [hop for hop in hops if hop["position"] == place]


class Reader(Protocol):
    """The database, or a connection to it that is held already."""

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Row]:  # noqa: ANN401
        """Run a statement."""
        ...


class Response(NamedTuple):
    """A response to a claim: its kind, whether it stands, and the ids of its responders."""

    kind: str
    validity: str
    responders: tuple[str, ...]


Names = Mapping[str, str]
"""What records are called, by their id; those that the caller does not see are not there."""


async def read_names(
    database: Reader, asker: Caller, wanted: Mapping[RecordType, Iterable[str]]
) -> Names:
    """Read what some records are called: one statement for each type."""
    names: dict[str, str] = {}
    for record_type, ids in wanted.items():
        text = ",".join(sorted(set(ids)))
        if not text:
            continue
        statement = compose(
            _NAMES,
            name=_NAME.get(record_type, "t.text"),
            most=f"{MAX_NAME}",
            table=plural(record_type),
            type=record_type,
        )
        rows = await database.fetch(*render(statement, asker, ids=f"{{{text}}}"))
        names |= {row["id"]: row["name"] for row in rows}
    return names


async def read_responses(
    database: Reader, asker: Caller, claims: Iterable[str]
) -> dict[str, list[Response]]:
    """Read the responses to some claims, at most one more of each than is shown."""
    statement = compose(_RESPONSES, limit=f"{MAX_NAMED + 1}", responders=f"{MAX_RESPONDERS + 1}")
    ids = f"{{{','.join(claims)}}}"
    found: dict[str, list[Response]] = {}
    for row in await database.fetch(*render(statement, asker, ids=ids)):
        responders = tuple(row["responders"] or ())
        response = Response(row["kind"], row["validity"], responders)
        found.setdefault(row["claim_id"], []).append(response)
    return found
