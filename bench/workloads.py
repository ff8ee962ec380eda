"""What is asked, and of whom: the workloads, each with its sides."""

from __future__ import annotations

from typing import Final, NamedTuple

import records  # beside this file
from servers import CEILINGS, PEERS  # likewise

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
OBJECT: Final = "application/vnd.pgrst.object+json"  # PostgREST's way to answer with one record
NDJSON: Final = "application/x-ndjson"
IMPORTED: Final = 1_000
"""How many claims an import has."""
HTTP_CONNECTIONS: Final = 32
LOOP: Final = "loop"
"""The name of the side without a server: asyncpg, in a loop."""
SIDES: Final = ("postgrest", *PEERS, *CEILINGS, LOOP)
BODIES: Final = 500
"""How many claims are invented to be created."""
_PAGE: Final = "order=created_at.desc,id.desc&limit=50"
_DOCUMENTS: Final = "/claim_documents?select=record"
_NEWEST: Final = """
    SELECT id, doc FROM claims WHERE deleted_at IS NULL AND visibility = 0
    ORDER BY created_at DESC, id DESC LIMIT 50"""


class Side(NamedTuple):
    """One of the servers, asked in one way.

    `path` has the names of what is drawn for each request in braces: `{id}` of a claim and its
    `{version}`; in the feed, the number `{seq}`, the time `{at}` and our cursor `{since}`. For the
    loop, `path` is the statement, and `match` has its arguments, with tabs between them.
    """

    name: str
    server: str  # whose process answers
    path: str
    match: str = ""  # of the header `If-Match`
    accept: str = JSON
    media_type: str = JSON
    prefer: str = "return=representation"
    bodies: tuple[str, ...] = ()  # where they are not those of the case


class Case(NamedTuple):
    """A workload; our side comes first."""

    name: str
    method: str
    items: int  # how many records an answer has
    sides: tuple[Side, ...]
    bodies: tuple[str, ...] = ("",)  # of the requests
    connections: int = HTTP_CONNECTIONS

    @property
    def code(self) -> str:
        """Give the first word of the name."""
        return self.name.split()[0]


def _peers(path: str, match: str = "") -> tuple[Side, ...]:
    return tuple(Side(name.replace("_", " "), name, path, match) for name in PEERS)


def _ceilings(case: str) -> tuple[Side, ...]:
    return tuple(Side(f"ceiling: static, {kind}", kind, f"/{case}") for kind in CEILINGS)


def _loop(statement: str, arguments: str = "") -> Side:
    return Side("ceiling: asyncpg loop", LOOP, statement, arguments)


R1: Final = Case(
    "R1 one claim",
    "GET",
    1,
    (
        Side("ours", "ours", "/v1/claims/{id}"),
        Side("PostgREST, columns", "postgrest", "/claims?id=eq.{id}", accept=OBJECT),
        Side("PostgREST, documents", "postgrest", _DOCUMENTS + "&id=eq.{id}", accept=OBJECT),
        *_peers("/claims/{id}"),
        *_ceilings("R1"),
        _loop("SELECT doc FROM claims WHERE id = $1", "{id}"),
    ),
)
R2: Final = Case(
    "R2 page of 50",
    "GET",
    50,
    (
        Side("ours", "ours", "/v1/claims?limit=50"),
        Side("PostgREST, columns", "postgrest", f"/claims?{_PAGE}"),
        Side("PostgREST, documents", "postgrest", f"{_DOCUMENTS}&{_PAGE}"),
        *_peers("/claims?limit=50"),
        *_ceilings("R2"),
        _loop(_NEWEST),
    ),
)
R3: Final = Case(
    "R3 page of 50, articles and sources",
    "GET",
    50,
    (
        Side("ours", "ours", "/v1/claims?limit=50&expand=articles,sources"),
        Side("PostgREST, columns", "postgrest", f"/claims?select=*,articles(*),sources(*)&{_PAGE}"),
        Side(
            "PostgREST, documents",
            "postgrest",
            f"{_DOCUMENTS},articles(record),sources(record)&{_PAGE}",
        ),
        Side("go pgx", "go_pgx", "/claims?limit=50&expand=articles,sources"),
        *_ceilings("R3"),
        _loop(
            f"""
            WITH page AS MATERIALIZED ({_NEWEST}), related AS MATERIALIZED (
                SELECT DISTINCT l.article_id, l.source_id
                FROM links AS l JOIN page ON page.id = l.owner_id
                WHERE l.owner_type = 'claim'
            )
            SELECT doc FROM page
            UNION ALL SELECT a.doc FROM articles AS a
                WHERE a.id IN (SELECT article_id FROM related)
            UNION ALL SELECT s.doc FROM sources AS s
                WHERE s.id IN (SELECT source_id FROM related)"""
        ),
    ),
)
S: Final = Case(
    "S 1,000 changes",
    "GET",
    1_000,
    (
        Side("ours", "ours", "/v1/changes?types=claim&limit=1000&since={since}"),
        Side(
            "PostgREST, columns",
            "postgrest",
            "/claims?updated_at=gt.{at}&order=updated_at,id&limit=1000",
        ),
        Side(
            "PostgREST, feed",
            "postgrest",
            "/changes?type=eq.claim&seq=gt.{seq}&order=seq&limit=1000",
        ),
        *_peers("/changes?since={at}&limit=1000"),
        *_ceilings("S"),
        _loop(
            """
            SELECT r.doc FROM feed AS f
            JOIN outbox AS o ON o.id = f.outbox_id
            JOIN revisions AS r
                ON r.record_type = o.record_type
                AND r.record_id = o.record_id AND r.version = o.version
            WHERE f.seq > $1::text::bigint AND o.record_type = 'claim'
            ORDER BY f.seq LIMIT 1000""",
            "{seq}",
        ),
    ),
    connections=4,  # with more, the slowest peers answer nothing for half a minute
)
W1: Final = Case(
    "W1 durable create",
    "POST",
    1,
    (
        Side("ours", "ours", "/v1/claims"),
        Side("PostgREST, columns", "postgrest", "/claims", accept=OBJECT),
        *_peers("/claims"),
        _loop(
            f"""
            INSERT INTO claims (id, {records.COLUMNS})
            SELECT uuidv7(), {records.COLUMNS} FROM json_populate_record(NULL::claims, $1::json)
            RETURNING doc""",
            "{body}",
        ),
    ),
    bodies=tuple(records.bodies(BODIES)),
)
W2: Final = Case(
    "W2 durable patch, If-Match",
    "PATCH",
    1,
    (
        Side("ours", "ours", "/v1/claims/{id}", '"v{version}"', media_type=MERGE_PATCH),
        Side(
            "PostgREST, columns",
            "postgrest",
            "/claims?id=eq.{id}&version=eq.{version}",
            accept=OBJECT,
        ),
        *_peers("/claims/{id}", '"{version}"'),
        _loop(
            """
            UPDATE claims SET note = $3::json ->> 'note'
            WHERE id = $1 AND version = $2::text::integer RETURNING doc""",
            "{id}\t{version}\t{body}",
        ),
    ),
    bodies=(f'{{"note":"Seen again: {records.UNIQUE}"}}',),
)
B1: Final = Case(
    "B1 import of 1,000",
    "POST",
    IMPORTED,
    (
        Side(
            "ours",
            "ours",
            "/v1/import",
            accept=NDJSON,
            media_type=NDJSON,
            bodies=(records.import_lines(IMPORTED),),
        ),
        Side("PostgREST, columns", "postgrest", "/claims", prefer="return=minimal"),
        *_peers("/imports"),
        _loop("COPY", "{body}")._replace(name="ceiling: COPY of plain rows"),
    ),
    bodies=(f"[{','.join(records.bodies(IMPORTED, each=True))}]",),
    connections=1,
)
CASES: Final = (R1, R2, R3, S, W1, W2, B1)


def of_sides(cases: tuple[Case, ...], names: tuple[str, ...]) -> list[Case]:
    """Keep the sides of some servers."""
    return [
        case._replace(sides=tuple(side for side in case.sides if side.server in names))
        for case in cases
    ]
