"""How many rows Postgres reads for a list: those that match, not all that there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from api.access import embargoes, keyring
from api.app import create_app
from api.core.db import Connection, Database
from api.core.turns import charged
from api.questions import groups
from api.records.nouns import RESOURCES
from schemas.vocabularies import Scope
from tests.conftest import (
    PATIENCE,
    allow,
    as_service,
    bearer,
    client_of,
    cloned,
    patient,
    running,
)
from tests.test_changes import owner

pytestmark = pytest.mark.long  # to fill its database takes seconds

MANY: Final = 3_000
READER: Final = keyring.written("plansreaders", "0" * 30)
FEW: Final = 600
"""More rows than one of these lists has to read, and far fewer than there are."""

_TIME: Final = '{"earliest": "2024-12-16", "latest": "2024-12-17", "precision": "day"}'
_EACH: Final = f"FROM generate_series(1, {MANY})"
_FIGURES: Final = (
    '[{"metric": "killed", "unit": "person", "population": "soldiers", "qualifier": "exact",'
    ' "value": 100}]'
)
_SOURCE: Final = """
    INSERT INTO sources (id, kind, identification, name)
    VALUES (gen_random_uuid(), 'person', 'named', 'A') RETURNING id"""
_CLAIMS: Final = f"""
    INSERT INTO claims (
        id, text, language, attributions, stated, occurred, review_status, validity, quantities
    )
    SELECT gen_random_uuid(), 'It is so', 'en-GB',
        json_build_array(json_build_object('source_id', $1::uuid)), '{_TIME}', '{_TIME}',
        'published', 'standing', '{_FIGURES}' {_EACH}"""
_DENIALS: Final = f"""
    INSERT INTO denials (
        id, text, kind, observed_by, targets, language, stated, review_status, validity, quantities
    )
    SELECT gen_random_uuid(), 'No', 'full_denial', 'reported', '[{{"text": "all of it"}}]', 'en-GB',
        '{_TIME}', 'published', 'standing', '{_FIGURES}' {_EACH}"""
_ARTICLES: Final = f"""
    INSERT INTO articles (id, headline, language, published, status)
    SELECT gen_random_uuid(), 'Here', 'en-GB', '{_TIME}', 'usable' {_EACH}"""


_BEHIND: Final = """
    SELECT count(*) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relallvisible < relpages"""
"""Count the tables that have a page of which Postgres does not know that all see all of it."""


class Watched:
    """A service on one connection, and the statements that ran on it."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client = client
        self.url = url
        self.asked: list[asyncpg.connection.LoggedQuery] = []

    def note(self, query: asyncpg.connection.LoggedQuery) -> None:
        """Keep a statement of a request; what works in the background uses the connection too."""
        if charged() is not None:
            self.asked.append(query)

    async def rows_read(self, path: str) -> int:
        """Ask for a list; give the number of rows that its statements read."""
        return sum([rows_in(plan) for plan in await self.plans(path)])

    async def items_read(self, path: str) -> int:
        """Ask a question; give the number of items that its statements take from lists in JSON."""
        plans = await self.plans(path, "links")
        return sum([rows_in(plan, "Function Name") for plan in plans])

    async def plans(
        self, path: str, having: str = "deleted_at IS NULL", **headers: str
    ) -> list[dict[str, Any]]:
        """Ask a list; give the plans of statements that contain `having`, with what they read."""
        self.asked.clear()
        answer = await self.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        connection = await asyncpg.connect(self.url)
        try:
            return [
                json.loads(await connection.fetchval(explained, *query.args))[0]
                for query in self.asked
                if having in query.query
                for explained in [f"EXPLAIN (ANALYZE, FORMAT JSON) {query.query}"]
            ]
        finally:
            await connection.close()


def rows_in(plan: dict[str, Any], of: str = "Relation Name") -> int:
    """Add up the rows that the scans of a plan have read, those included that did not match."""
    node = plan.get("Plan", plan)
    read = 0
    if "Scan" in node["Node Type"] and of in node:
        names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        read = round(sum(node.get(name, 0) for name in names) * node["Actual Loops"])
    return read + sum(rows_in(child, of) for child in node.get("Plans", ()))


def _scans_in(plan: dict[str, Any]) -> set[str]:
    """Give the kinds of the scans of tables in a plan that were carried out."""
    node = plan.get("Plan", plan)
    read = "Relation Name" in node and node["Actual Loops"] > 0
    own = {node["Node Type"]} if read else set()
    return own.union(*map(_scans_in, node.get("Plans", ())))


@asynccontextmanager
async def watching(
    template: str, fill: Callable[[Connection], Awaitable[None]]
) -> AsyncIterator[Watched]:
    """Serve a database with the records that a function adds.

    They are vacuumed before the service starts: while it counts words in the background, Postgres
    could not note of each page that everybody sees all of it, and would read rows beside an index.
    """
    async with cloned(template) as url:
        settings = patient(pool_size=1)
        await allow(url)
        filled = Database(url, settings)
        await filled.open()
        async with filled.connection() as connection:
            await fill(connection)
            await see_all_pages(connection)
        await filled.close()
        database = Database(url, settings)
        app = create_app(settings, database)
        async with running(app), client_of(app) as client:
            found = Watched(client, url)
            async with database.connection() as connection:
                connection.add_query_logger(found.note)
            yield found


async def see_all_pages(connection: Connection) -> None:
    """Vacuum until all rows of all tables are known to be seen by all.

    Once is not enough: a cluster that is not durable answers a commit before it writes its log,
    and only a commit that is in the written log counts as one that everybody sees.
    """
    async with asyncio.timeout(PATIENCE):
        await connection.execute("VACUUM ANALYZE")
        while await connection.fetchval(_BEHIND):
            await asyncio.sleep(0.1)
            await connection.execute("VACUUM ANALYZE")


@pytest.fixture(scope="module")
async def watched(template: str) -> AsyncIterator[Watched]:
    """Serve a database with many records, all alike."""
    async with watching(template, _fill) as found:
        yield found


async def _fill(connection: Connection) -> None:
    source_id = await connection.fetchval(_SOURCE)
    for statement in (_DENIALS, _ARTICLES):
        await connection.execute(statement)
    await connection.execute(_CLAIMS, source_id)


@pytest.mark.parametrize(
    "asked",
    [
        "claims?attributed=false",
        "claims?language=xx",
        "claims?language=EN",
        "claims?stated__gte=2099-01-01",
        "claims?stated__lt=1999-01-01",
        "claims?occurred__gte=2099-01-01",
        "denials?language=xx",
        "denials?stated__gte=2099-01-01",
        "articles?language=xx",
        "articles?published__gte=2099-01-01",
        *(
            f"{plural}?metric={figure}"
            for plural in ("claims", "denials")
            for figure in (
                "injured",
                "killed&unit=USD",
                "killed&population=nobody",
                "killed&quantity_from=101",
                "killed&quantity_to=99",
            )
        ),
    ],
)
@pytest.mark.parametrize("counted", [False, True])
async def test_a_list_reads_what_matches(watched: Watched, asked: str, *, counted: bool) -> None:
    more = "&count=exact" if counted and asked != "claims?language=EN" else ""
    assert await watched.rows_read(f"/v1/{asked}{more}") < FEW


async def test_a_list_of_everything_is_what_it_is_compared_with(watched: Watched) -> None:
    assert await watched.rows_read("/v1/claims?count=exact") >= MANY


async def test_groups_read_the_records_and_not_their_links(watched: Watched) -> None:
    """Of 10,000 claims among a million, the links lie in 20,000 other blocks."""
    lists = "by=claimant_id&by=origin_id&by=source_id&by=article_id&by=publisher_id"
    for asked in (lists, "by=metric&by=tag&by=place_country_code"):
        assert MANY <= await watched.rows_read(f"/v1/claims/groups?{asked}") < MANY + FEW


async def test_groups_of_everything_by_terms_read_no_rows(watched: Watched) -> None:
    await allow(watched.url, key=READER, scopes=(Scope.READ,))
    for asked in (
        "claims/groups?by=validity",
        "claims/groups?by=polarity",
        "denials/groups?by=kind",
    ):
        plans = await watched.plans(f"/v1/{asked}", **bearer(READER))
        assert set().union(*map(_scans_in, plans)) == {"Index Only Scan"}


async def test_groups_read_no_more_lists_than_they_count(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_GROUPED_BY_OTHERS", 50)
    plans = await watched.plans("/v1/claims/groups?by=claimant_id")
    (found,) = (each for plan in plans for each in nodes(plan, "Subplan Name", "CTE matched"))
    assert rows_in(found) <= 50


def nodes(plan: dict[str, Any], name: str, value: str) -> list[dict[str, Any]]:
    """Give the nodes of a plan that have a property of this value."""
    node = plan.get("Plan", plan)
    below = [each for child in node.get("Plans", ()) for each in nodes(child, name, value)]
    return [node, *below] if node.get(name) == value else below


@pytest.mark.parametrize(
    "asked",
    [
        "metric=injured",
        "metric=killed&unit=USD",
        "metric=killed&population=nobody",
        "metric=killed&quantity_from=101",
        "metric=killed&sort=lower",
        "metric=killed&sort=-lower",
        "metric=killed&sort=upper",
        "sort=created_at",
        "sort=-stated",
    ],
)
async def test_a_page_of_figures_reads_what_is_on_it(watched: Watched, asked: str) -> None:
    assert await watched.rows_read(f"/v1/figures?{asked}&limit=20") < FEW


CLUSTER: Final = 40
_RELATED: Final = f"""
    INSERT INTO claims (id, text, review_status, validity, quantities, relations)
    SELECT lpad(n::text, 32, '0')::uuid, 'They say it', 'published', 'standing',
        '[{{"metric": "killed", "unit": "person", "qualifier": "exact", "value": 1,'
        ' "as_of": "2024-12-17"}}]',
        (
            SELECT json_agg(json_build_object(
                'claim_id', lpad(m::text, 32, '0')::uuid, 'kind', kind, 'state', 'confirmed'
            ))
            FROM generate_series(1, {CLUSTER}) AS m,
                unnest(ARRAY['restates', 'conflicts_with']) AS kind
            WHERE m < n OR kind = 'restates' AND m <> n
        )
    FROM generate_series(1, {CLUSTER}) AS n"""


@pytest.mark.parametrize("asked", [f"claims/{UUID(int=1)}/origins", "figures?limit=200"])
async def test_relations_are_followed_without_reading_the_claims_that_state_them(
    template: str, asked: str
) -> None:
    """Each of many claims that restate each other has a long list, and each list many readers."""

    async def fill(connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("SET CONSTRAINTS ALL DEFERRED")
            await connection.execute(_RELATED)

    async with watching(template, fill) as related:
        assert await related.items_read(f"/v1/{asked}") < 20 * CLUSTER


_GROUPS: Final = """
    WITH person AS (
        INSERT INTO sources (id, kind, identification, name)
        SELECT gen_random_uuid(), 'person', 'named', 'A' FROM generate_series(1, 100) RETURNING id
    ), held AS (
        SELECT json_agg(json_build_object('source_id', p.id)) AS members FROM person AS p
    )
    INSERT INTO sources (id, kind, identification, name, members)
    SELECT gen_random_uuid(), 'group', 'named', 'B', held.members
    FROM held, generate_series(1, 100)"""
_CLAIM: Final = """
    INSERT INTO claims (id, text, attributions, review_status, validity)
    VALUES ($1, 'It is so', json_build_array(json_build_object(
        'source_id', $2::uuid, 'role', 'claimant', 'resolution', 'certain', 'position', 0
    )), 'published', 'standing')"""


@pytest.mark.parametrize("rollup", ["", "?rollup=parent"])
async def test_origins_read_the_members_of_no_other_group(template: str, rollup: str) -> None:
    async def fill(connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("SET CONSTRAINTS ALL DEFERRED")
            await connection.execute(_GROUPS)
            lone = await connection.fetchval(_SOURCE)
            await connection.execute(_CLAIM, UUID(int=1), lone)

    async with watching(template, fill) as held:
        assert await held.rows_read(f"/v1/claims/{UUID(int=1)}/origins{rollup}") < FEW


_READ_IN_ORDER: Final = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'claims'"
_LOOKED_UP: Final = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'claims'"


async def test_embargoes_that_are_over_are_found_without_reading_the_records(
    empty_url: str,
) -> None:
    """Also where there are none, and Postgres thinks of a third of the records that they are."""
    async with owner(empty_url) as connection:
        source = await connection.fetchval(_SOURCE)
        await connection.execute(_CLAIMS, source)
        await connection.execute("UPDATE embargo_clock SET at = now() - interval '10 s'")
        await connection.execute("ANALYZE claims")
    async with owner(empty_url) as connection:
        before = await connection.fetchval(_READ_IN_ORDER)
        looked_up = await connection.fetchval(_LOOKED_UP)
        database = Database(as_service(empty_url), patient(pool_size=1))
        await database.open()
        assert await embargoes.lift(database, RESOURCES.values()) == 0
        await database.close()
        async with asyncio.timeout(PATIENCE):  # the session tells what it has read when it ends
            while await connection.fetchval(_LOOKED_UP) == looked_up:
                pass
        assert await connection.fetchval(_READ_IN_ORDER) - before < 10  # of thousands
