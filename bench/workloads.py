"""What is asked, and of whom: the workloads, each with its sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

import graphql  # beside this file
import records  # likewise
from installing import CEILINGS, DIRECTUS, KINTO, PEERS, POSTGRAPHILE, POSTGREST  # likewise

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
OBJECT: Final = "application/vnd.pgrst.object+json"  # PostgREST's way to answer with one record
NDJSON: Final = "application/x-ndjson"
IMPORTED: Final = 1_000
"""How many claims an import has."""
HTTP_CONNECTIONS: Final = 32
OURS: Final = "claim-records"
LOOP: Final = "loop"
"""The name of the side without a server: asyncpg, in a loop."""
SIDES: Final = (POSTGREST, POSTGRAPHILE, DIRECTUS, KINTO, *PEERS, *CEILINGS, LOOP)
"""The servers beside ours, by the names that `--sides` takes."""
NAMES: Final = {
    "fastapi_sqlalchemy": "FastAPI, SQLAlchemy",
    "fastapi_asyncpg": "FastAPI, asyncpg",
    "litestar_advanced_alchemy": "Litestar, advanced-alchemy",
    "django_rest": "Django REST framework",
    "go_pgx": "Go, pgx",
}
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
    `{version}`; in the feed, the number `{seq}`, the time `{at}` and our cursor `{since}`; for
    Kinto, its number `{kinto}`. In bodies they stand between at signs. For the loop, `path` is the
    statement, and `match` has its arguments, with tabs between them.
    """

    name: str
    server: str  # whose process answers
    path: str
    match: str = ""  # of the header `If-Match`
    accept: str = JSON
    media_type: str = JSON
    prefer: str = "return=representation"
    bodies: tuple[str, ...] = ()  # where they are not those of the case
    method: str = ""  # likewise


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
    return tuple(Side(NAMES[name], name, path, match) for name in PEERS)


def _postgraphile(query: str, *variables: str) -> Side:
    """Ask in GraphQL, in a body of JSON; the variables are written as JSON."""
    bodies = tuple(graphql.body(query, each) for each in variables or ["{}"])
    return Side("PostGraphile", POSTGRAPHILE, "/graphql", bodies=bodies, method="POST")


def _directus(path: str = "", **query: str) -> Side:
    """Ask Directus for the columns that the others publish too."""
    fields = "version,created_at,updated_at," + records.COLUMNS.replace(" ", "")
    given = urlencode({**query, "fields": f"id,{fields}"}, safe=",{}")
    return Side("Directus", DIRECTUS, f"/items/claims{path}?{given}")


def _kinto(path: str = "", match: str = "") -> Side:
    """Ask Kinto, which has the records as documents of its own."""
    return Side("Kinto", KINTO, f"/v1/buckets/bench/collections/claims/records{path}", match)


def _ceilings(case: str) -> tuple[Side, ...]:
    return tuple(Side(f"ceiling: static, {kind}", kind, f"/{case}") for kind in CEILINGS)


def _loop(statement: str, arguments: str = "") -> Side:
    return Side("ceiling: asyncpg loop", LOOP, statement, arguments)


R1: Final = Case(
    "R1 one claim",
    "GET",
    1,
    (
        Side(OURS, "ours", "/v1/claims/{id}"),
        Side("PostgREST, columns", "postgrest", "/claims?id=eq.{id}", accept=OBJECT),
        Side("PostgREST, documents", "postgrest", _DOCUMENTS + "&id=eq.{id}", accept=OBJECT),
        _postgraphile(graphql.ONE, '{"id":"@id@"}'),
        _directus("/{id}"),
        _kinto("/{id}"),
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
        Side(OURS, "ours", "/v1/claims?limit=50"),
        Side("PostgREST, columns", "postgrest", f"/claims?{_PAGE}"),
        Side("PostgREST, documents", "postgrest", f"{_DOCUMENTS}&{_PAGE}"),
        _postgraphile(graphql.PAGE),
        _directus(sort="-created_at,-id", limit="50"),
        _kinto("?_limit=50"),
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
        Side(OURS, "ours", "/v1/claims?limit=50&expand=articles,sources"),
        Side("PostgREST, columns", "postgrest", f"/claims?select=*,articles(*),sources(*)&{_PAGE}"),
        Side(
            "PostgREST, documents",
            "postgrest",
            f"{_DOCUMENTS},articles(record),sources(record)&{_PAGE}",
        ),
        _postgraphile(graphql.EXPANDED),
        *_peers("/expanded?limit=50"),
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
        Side(OURS, "ours", "/v1/changes?types=claim&limit=1000&since={since}"),
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
        _postgraphile(graphql.CHANGES, '{"since":"@at@"}'),
        _directus(sort="updated_at,id", limit="1000", **{"filter[updated_at][_gt]": "{at}"}),
        _kinto("?_since={kinto}&_sort=last_modified&_limit=1000"),
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
        Side(OURS, "ours", "/v1/claims"),
        Side("PostgREST, columns", "postgrest", "/claims", accept=OBJECT),
        _postgraphile(graphql.CREATE, *map(graphql.new_claim, records.bodies(BODIES))),
        _directus(),
        _kinto()._replace(bodies=tuple(f'{{"data":{body}}}' for body in records.bodies(BODIES))),
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
        Side(OURS, "ours", "/v1/claims/{id}", '"v{version}"', media_type=MERGE_PATCH),
        Side(
            "PostgREST, columns",
            "postgrest",
            "/claims?id=eq.{id}&version=eq.{version}",
            accept=OBJECT,
        ),
        _postgraphile(
            graphql.PATCH,
            f'{{"id":"@id@","version":@version@,"note":"Seen again: {records.UNIQUE}"}}',
        ),
        _directus("/{id}"),
        _kinto("/{id}", '"{kinto}"')._replace(
            bodies=(f'{{"data":{{"note":"Seen again: {records.UNIQUE}"}}}}',)
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
            OURS,
            "ours",
            "/v1/import",
            accept=NDJSON,
            media_type=NDJSON,
            bodies=(records.import_lines(IMPORTED),),
        ),
        Side("PostgREST, columns", "postgrest", "/claims", prefer="return=minimal"),
        _directus()._replace(path="/items/claims?fields=id"),
        _kinto()._replace(
            path="/v1/batch",
            bodies=(
                '{"defaults":{"method":"POST","path":"/buckets/bench/collections/claims/records"},'
                '"requests":['
                + ",".join(
                    f'{{"body":{{"data":{body}}}}}' for body in records.bodies(IMPORTED, each=True)
                )
                + "]}",
            ),
        ),
        *_peers("/imports"),
        _loop("COPY", "{body}")._replace(name="ceiling: COPY of plain rows"),
    ),
    bodies=(f"[{','.join(records.bodies(IMPORTED, each=True))}]",),
    connections=1,
)
CASES: Final = (R1, R2, R3, S, W1, W2, B1)


def of_sides(cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """Keep the sides of some servers."""
    return [
        case._replace(sides=tuple(side for side in case.sides if side.server in names))
        for case in cases
    ]
