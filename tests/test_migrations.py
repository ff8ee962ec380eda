"""Migrations: each goes forward and back, alone and with another one at the same time."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from api.core.caller import HIDDEN
from api.server import schema
from tests.conftest import PATIENCE, in_database, swept
from tests.test_hidden_articles import ADD_CLAIM, ADD_DENIAL, add_article, class_of, printed_in

KNOWN = schema.known()

# What makes a schema, one list each: everything is named, so the order of creation is left out.
LISTINGS = {
    "columns": """
        SELECT c.relname, c.relkind::text, c.reloptions,
               row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
               format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
               a.attgenerated::text, a.attcollation::regcollation::text,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'c')
        ORDER BY c.relname, a.attnum""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef
        FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2""",
    "functions": """
        SELECT p.oid::regprocedure::text,
               CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END
        FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace ORDER BY 1""",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text
        FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2""",
    "types": """
        SELECT typname, typtype::text
        FROM pg_type WHERE typnamespace = 'public'::regnamespace ORDER BY 1""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by
        FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1""",
    "extensions": "SELECT extname FROM pg_extension ORDER BY 1",
    "text search": """
        SELECT c.cfgname, m.maptokentype, m.mapseqno, m.mapdict::regdictionary::text
        FROM pg_ts_config AS c JOIN pg_ts_config_map AS m ON m.mapcfg = c.oid
        WHERE c.cfgnamespace = 'public'::regnamespace ORDER BY 1, 2, 3""",
}


@pytest.fixture
async def bare(template: str) -> AsyncIterator[str]:
    """Make a database with nothing in it."""
    name = f"bare_{uuid4().hex}"
    server = await asyncpg.connect(in_database(template, "postgres"))
    try:
        await server.execute(f"CREATE DATABASE {name}")
        yield in_database(template, name)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


async def described(url: str) -> dict[str, list[list[Any]]]:
    """List everything that a schema consists of."""
    connection = await asyncpg.connect(url)
    try:
        return {
            name: [list(row) for row in await connection.fetch(query)]
            for name, query in LISTINGS.items()
        }
    finally:
        await connection.close()


async def own_objects(url: str) -> dict[str, list[list[Any]]]:
    """List what is left beside alembic's own table."""
    return {
        name: [row for row in rows if "alembic_version" not in str(row[0])]
        for name, rows in (await described(url)).items()
    }


# --- forward and back ------------------------------------------------------------------------


@pytest.mark.long
async def test_the_schema_knows_where_it_is(bare: str) -> None:
    assert await schema.current(bare) is None
    assert schema.latest() == KNOWN[-1]
    for revision in KNOWN:
        await schema.migrate(bare, revision)
        assert await schema.current(bare) == revision
    await schema.migrate(bare, "base")
    assert await schema.current(bare) is None


@pytest.mark.parametrize("revision", swept([None, *KNOWN], tried=[None, KNOWN[-1]]))
async def test_every_state_leads_to_the_newest(bare: str, template: str, revision: str) -> None:
    if revision is not None:
        await schema.migrate(bare, revision)
    await schema.migrate(bare)
    assert await schema.current(bare) == schema.latest()
    assert await described(bare) == await described(template)


@pytest.mark.long
@pytest.mark.parametrize("revision", swept(KNOWN, tried=KNOWN[-1:]))
async def test_every_migration_goes_back_without_a_trace(bare: str, revision: str) -> None:
    empty = await own_objects(bare)
    await schema.migrate(bare, revision)
    there = await described(bare)
    await schema.migrate(bare, "base")
    assert await own_objects(bare) == empty
    await schema.migrate(bare, revision)
    assert await described(bare) == there
    place = KNOWN.index(revision)
    await schema.migrate(bare, KNOWN[place - 1] if place else "base")
    await schema.migrate(bare, revision)
    assert await described(bare) == there


@pytest.mark.long
async def test_a_migration_to_where_one_is_changes_nothing(bare: str) -> None:
    await schema.migrate(bare)
    there = await described(bare)
    await schema.migrate(bare)
    await schema.migrate(bare, schema.latest())
    assert await described(bare) == there


@pytest.mark.long
async def test_the_listings_see_a_difference(bare: str) -> None:
    await schema.migrate(bare)
    there = await described(bare)
    assert all(there[name] for name in LISTINGS)
    connection = await asyncpg.connect(bare)
    try:
        await connection.execute("ALTER TABLE claims ALTER COLUMN language DROP DEFAULT")
    finally:
        await connection.close()
    assert await described(bare) != there


# --- rows that are there ---------------------------------------------------------------------

_ACTORS = [
    "abcdefghijkl\tsources:write\trequest-1\tPOST /v1/sources",
    "abcdefghijkl\t\trequest-2\tPOST /v1/import",
    "Anna, by psql",
    "",
    None,
]
_ADDED = ("actor_scope", "actor_request_id", "actor_route")


@pytest.mark.long
async def test_what_is_kept_of_writers_becomes_columns_and_one_text_again(bare: str) -> None:
    await schema.migrate(bare, "0005")
    connection = await asyncpg.connect(bare)
    try:
        await connection.executemany(
            "INSERT INTO sources (id, kind, identification, name, actor)"
            " VALUES (gen_random_uuid(), 'person', 'named', $1, $2)",
            [(f"n{number}", actor) for number, actor in enumerate(_ACTORS)],
        )
        await connection.execute("UPDATE sources SET note = 'changed' WHERE name IN ('n0', 'n2')")
        await connection.execute("UPDATE sources SET deleted_at = now() WHERE name = 'n1'")
        before = await _rows(connection)
        assert [row["actor"] for row in before["sources"]] == _ACTORS

        await schema.migrate(bare, "0006")
        after = await _rows(connection)
        assert after["audit"] == before["audit"]
        assert [[row[name] for name in ("actor", *_ADDED)] for row in after["sources"]] == [
            ["abcdefghijkl", "sources:write", "request-1", "POST /v1/sources"],
            ["abcdefghijkl", None, "request-2", "POST /v1/import"],
            ["Anna, by psql", None, None, None],
            ["", None, None, None],
            [None, None, None, None],
        ]
        for table in ("sources", "revisions"):
            published = [_published(row) for row in before[table]]
            assert [_published(row) for row in after[table]] == published

        writer = ["zyxwvutsrqpo", "drafts:read", "request-3", "PATCH /v1/sources/{id}"]
        await connection.execute(
            "UPDATE sources SET note = 'again', actor = $1, actor_scope = $2,"
            " actor_request_id = $3, actor_route = $4 WHERE name = 'n0'",
            *writer,
        )
        await connection.fetchval("SELECT audited($1::text[], 'key', 'k', 'revoked')", writer)
        logged = await connection.fetch(
            "SELECT key_id, scope, request_id, route FROM audit ORDER BY id DESC LIMIT 2"
        )
        assert [list(row) for row in logged] == [writer, writer]

        await schema.migrate(bare, "0005")
        back = await _rows(connection)
        assert back["sources"][0]["actor"] == "\t".join(writer)
        assert back["sources"][1:] == before["sources"][1:]
        assert back["revisions"][:-1] == before["revisions"]
        assert back["audit"][:-2] == before["audit"]
        await connection.fetchval("SELECT audited($1, 'key', 'k', 'created')", _ACTORS[0])
        last = await connection.fetchrow("SELECT key_id, route FROM audit ORDER BY id DESC LIMIT 1")
        assert last is not None
        assert tuple(last) == ("abcdefghijkl", "POST /v1/sources")
    finally:
        await connection.close()


def _published(row: dict[str, Any]) -> dict[str, Any]:
    """Give what is published of a row; of its writer, that is what stands before the first tab."""
    kept = {name: value for name, value in row.items() if name not in _ADDED}
    return {**kept, "actor": row["actor"] and row["actor"].split("\t")[0]}


async def _rows(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, list[dict[str, Any]]]:
    """Read every source, revision and audit event."""
    return {
        table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY {by}")]
        for table, by in (("sources", "name"), ("revisions", "version, at"), ("audit", "id"))
    }


@pytest.mark.long
async def test_records_are_hidden_with_their_articles_and_shown_again(bare: str) -> None:
    await schema.migrate(bare, "0008")
    connection = await asyncpg.connect(bare)
    try:
        shown, hidden = await add_article(connection), await add_article(connection, "withheld")
        texts = {"shown": [shown], "hidden": [shown, hidden], "moved": [hidden], "none": []}
        ids = {
            name: await connection.fetchval(ADD_CLAIM, printed_in(*articles))
            for name, articles in texts.items()
        }
        move = "UPDATE claims SET appearances = $2 WHERE id = $1"
        await connection.execute(move, ids["moved"], printed_in(shown))
        ids["gone"] = await connection.fetchval(ADD_CLAIM, printed_in(hidden))
        await connection.execute("UPDATE claims SET deleted_at = now() WHERE id = $1", ids["gone"])
        denial = await connection.fetchval(ADD_DENIAL, printed_in(hidden))
        last = await connection.fetchval("SELECT max(id) FROM outbox")
        events = (
            "SELECT record_id, op, visibility_before, visibility_after FROM outbox"
            " WHERE id > $1 ORDER BY id"
        )

        await schema.migrate(bare, "0009")
        assert {tuple(row) for row in await connection.fetch(events, last)} == {
            (ids["hidden"], "updated", 0, HIDDEN),
            (denial, "updated", 0, HIDDEN),
        }
        assert {name: await class_of(connection, each) for name, each in ids.items()} == {
            name: HIDDEN * (name == "hidden") for name in ids
        }
        rows = await connection.fetch(
            "SELECT version, article_ids FROM revisions WHERE record_id = $1 ORDER BY version",
            ids["moved"],
        )
        assert [tuple(row) for row in rows] == [(1, [hidden]), (2, [shown])]
        stored = "SELECT article_ids FROM claims WHERE id = $1"
        assert await connection.fetchval(stored, ids["hidden"]) == sorted([shown, hidden])

        last = await connection.fetchval("SELECT max(id) FROM outbox")
        await schema.migrate(bare, "0008")
        assert {tuple(row) for row in await connection.fetch(events, last)} == {
            (ids["hidden"], "updated", HIDDEN, 0),
            (denial, "updated", HIDDEN, 0),
        }
        assert await class_of(connection, ids["hidden"]) == 0
        await schema.migrate(bare, "0009")
        assert await class_of(connection, ids["hidden"]) == HIDDEN
    finally:
        await connection.close()


_PLACES = [
    {"role": "event", "name": "Kursk", "country_code": "RU", "qualifier": None},
    {"role": "scope", "name": 'the "front", {east}', "country_code": None, "qualifier": "near"},
]
_NO_COORDINATES = dict.fromkeys(("latitude", "longitude", "precision", "uncertainty_m"))


@pytest.mark.long
async def test_documents_get_the_properties_of_the_model_and_lose_them_again(bare: str) -> None:
    await schema.migrate(bare, "0014")
    connection = await asyncpg.connect(bare)
    try:
        for name, places in (("two", _PLACES), ("none", [])):
            await connection.execute(
                "INSERT INTO claims (id, text, places) VALUES (gen_random_uuid(), $1, $2)",
                name,
                json.dumps(places, separators=(",", ":")),
            )
        await connection.execute(
            "INSERT INTO articles (id, headline, text) VALUES (gen_random_uuid(), 'H', 'Words.')"
        )
        await connection.execute("UPDATE claims SET note = 'changed' WHERE text = 'two'")
        before = await _documents(connection)
        assert len(before) == 3 + 4
        events = await connection.fetchval("SELECT count(*) FROM outbox")

        await schema.migrate(bare, "0015")
        after = await _documents(connection)
        for old, new in zip(before, after, strict=True):
            assert {name: new[name] for name in old if name != "places"} == {
                name: value for name, value in old.items() if name != "places"
            }
            if "places" in old:
                assert new["places"] == [each | _NO_COORDINATES for each in old["places"]]
                assert list(new) == list(old)
            else:
                assert new.keys() - old.keys() == {"kind", "credits", "headline_derived"}
        columns = await connection.fetch("SELECT places, doc FROM claims")
        for row in columns:
            assert json.loads(row["places"]) == json.loads(row["doc"])["places"]
        assert await connection.fetchval("SELECT count(*) FROM outbox") == events
        await connection.execute("UPDATE claims SET note = NULL WHERE text = 'none'")
        await connection.execute("UPDATE articles SET kind = 'unspecified'")
        assert await _documents(connection) == after  # a write that changes nothing

        await schema.migrate(bare, "0014")
        assert await _documents(connection) == before
    finally:
        await connection.close()


_NEEDS_THE_MODEL = (
    """
    INSERT INTO denials (id, text, kind, observed_by, targets)
    VALUES (gen_random_uuid(), 't', 'third_party_support', 'responder_statement', '[]')
    """,
    """
    WITH other AS (
        INSERT INTO articles (id, headline) VALUES (gen_random_uuid(), 'h') RETURNING id
    )
    INSERT INTO articles (id, headline, relations)
    SELECT gen_random_uuid(), 'i',
           json_build_array(json_build_object('article_id', id, 'kind', 'reply_to'))
    FROM other
    """,
)


@pytest.mark.long
@pytest.mark.parametrize("insert", _NEEDS_THE_MODEL)
async def test_the_model_does_not_go_back_while_a_record_needs_it(bare: str, insert: str) -> None:
    await schema.migrate(bare, "0015")
    connection = await asyncpg.connect(bare)
    try:
        await connection.execute("SET CONSTRAINTS ALL DEFERRED")
        await connection.execute(insert)
        with pytest.raises(schema.MigrationError, match="does not know"):
            await schema.migrate(bare, "0014")
    finally:
        await connection.close()


_KEPT_FIGURES = """
    SELECT f.owner_type, f.index, f.metric, f.unit, f.population, f.lower, f.upper, f.lower_open,
           f.upper_open, lower(f.during)::text, cardinality(f.topics),
           (SELECT count(*) FROM figure_topics AS k
            WHERE (k.owner_type, k.owner_id, k.index) = (f.owner_type, f.owner_id, f.index))
    FROM figures AS f ORDER BY f.owner_type, f.owner_id, f.index"""


@pytest.mark.long
async def test_the_figures_of_records_that_are_there_are_kept_as_those_of_new_ones(
    bare: str,
) -> None:
    await schema.migrate(bare, "0015")
    connection = await asyncpg.connect(bare)
    try:
        former = "SELECT claim_id, metric, lower, upper, lower_open, upper_open FROM figures"
        await _add_figures(connection)
        before = await connection.fetch(former)
        assert len(before) == 3

        await schema.migrate(bare, "0016")
        kept = await connection.fetch(_KEPT_FIGURES)
        assert [tuple(row) for row in kept] == [
            ("claim", 0, "killed", "person", "soldats francais", 100, math.inf, False, False,
             "2024-12-17 00:00:00+00", 1, 1),
            ("claim", 1, "injured", "person", None, 5, 7, False, False,
             "2024-12-19 00:00:00+00", 1, 1),
            ("claim", 2, "killed", "person", None, None, None, False, False,
             "2024-12-17 00:00:00+00", 1, 1),
            ("denial", 0, "killed", "person", None, -math.inf, 30, False, True, None, 0, 0),
        ]  # fmt: skip
        for table in ("claims", "denials"):
            await connection.execute(f"UPDATE {table} SET deleted_at = now()")
        assert await connection.fetch(_KEPT_FIGURES) == []
        assert await connection.fetchval("SELECT count(*) FROM figure_topics") == 0
        for table in ("claims", "denials"):
            await connection.execute(
                f"UPDATE {table} SET deleted_at = NULL WHERE text <> 'deleted before'"
            )
        assert await connection.fetch(_KEPT_FIGURES) == kept

        await schema.migrate(bare, "0015")
        assert await connection.fetch(former) == before
        await schema.migrate(bare, "0016")
        assert await connection.fetch(_KEPT_FIGURES) == kept
    finally:
        await connection.close()


async def _add_figures(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Insert a claim with three figures, one that was deleted, and a denial with a figure."""
    killed = {"metric": "killed", "unit": "Person"}
    figures = [
        killed | {"population": "Soldats FRANÇAIS", "qualifier": "at_least", "lower": 100},
        {"metric": "injured", "unit": "person", "qualifier": "between", "lower": 5, "upper": 7}
        | {"as_of": "2024-12-19"},
        killed | {"qualifier": "vague", "term": "heavy"},
    ]
    places = [
        {"role": "event", "name": "Kursk", "country_code": "RU"},
        {"role": "event", "name": "KURSK", "country_code": "RU"},
        {"role": "statement", "name": "Seoul", "country_code": "KR"},
    ]
    occurred = {"expression": None, "earliest": "2024-12-17", "latest": None, "precision": "day"}
    add = (
        "INSERT INTO claims (id, text, quantities, places, occurred)"
        " VALUES (gen_random_uuid(), $1, $2, $3, $4)"
    )
    for text in ("there", "deleted before"):
        await connection.execute(add, text, *map(json.dumps, (figures, places, occurred)))
    await connection.execute("UPDATE claims SET deleted_at = now() WHERE text = 'deleted before'")
    await connection.execute(
        "INSERT INTO denials (id, text, kind, observed_by, targets, quantities) VALUES"
        " (gen_random_uuid(), 't', 'disputes_figures', 'responder_statement', '[]', $1)",
        json.dumps([killed | {"qualifier": "fewer_than", "upper": 30}]),
    )


async def _documents(connection: asyncpg.Connection[asyncpg.Record]) -> list[dict[str, Any]]:
    """Read every document, those of history too."""
    rows = await connection.fetch(
        "SELECT doc FROM (SELECT id, version, 0 AS past, doc FROM claims UNION ALL"
        " SELECT id, version, 0, doc FROM articles UNION ALL"
        " SELECT record_id, version, 1, doc FROM revisions) AS every ORDER BY id, version, past"
    )
    return [json.loads(row["doc"]) for row in rows]


# --- at the same time ------------------------------------------------------------------------

_MIGRATE = (
    "import asyncio, sys; from api.server import schema; asyncio.run(schema.migrate(sys.argv[1]))"
)


@pytest.mark.process
async def test_processes_that_migrate_at_once_all_succeed(bare: str, template: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _MIGRATE,
            bare,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parent.parent,
        )
        for _ in range(2)
    ]
    for process in processes:
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
    assert await described(bare) == await described(template)


@pytest.mark.long
async def test_a_migration_waits_for_another_one(bare: str) -> None:
    other = await asyncpg.connect(bare)
    try:
        assert await other.fetchval("SELECT pg_try_advisory_lock($1)", 0x636C61696D)
        waiting = asyncio.create_task(schema.migrate(bare))
        refused = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'SELECT pg_try_advisory_lock%' AND state = 'idle'"
            " AND pid <> pg_backend_pid()"
        )
        async with asyncio.timeout(PATIENCE):
            while not await other.fetchval(refused):
                pass
        assert not waiting.done()
        assert await schema.current(bare) is None
        await other.fetchval("SELECT pg_advisory_unlock($1)", 0x636C61696D)
        await waiting
    finally:
        await other.close()
    assert await schema.current(bare) == schema.latest()


# --- the SQL ---------------------------------------------------------------------------------

NOT_FOR_US = {
    "require-statement-timeout": "a migration takes as long as it has to; it waits for no lock",
    "prefer-bigint-over-smallint": "a class of visibility is 0, 1 or 2",
    "prefer-bigint-over-int": "versions, positions and lengths end at 2^31 - 1 by contract",
    "ban-drop-function": "only our triggers call ours, which are made anew at the same commit",
    "ban-drop-type": "only our triggers use ours, which are made anew at the same commit",
}
"""Rules of squawk that do not apply, and why."""


async def emitted(url: str, target: str) -> list[str]:
    """Migrate, and give the statements that change something."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await schema.migrate(url, target)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    words = ("CREATE", "ALTER", "DROP", "SET", "COMMENT", "GRANT", "REVOKE", "UPDATE", "DO")
    return [each.strip() for each in statements if each.strip().startswith(words)]


def linted(statements: list[str], *, alone: bool = False) -> list[dict[str, Any]]:
    """Let squawk look at SQL that runs in one transaction, or each statement alone."""
    squawk = shutil.which("squawk", path=str(Path(sys.executable).parent)) or "squawk"
    sql = "".join(f"{statement};\n" for statement in statements)
    rules = [part for rule in NOT_FOR_US for part in ("--exclude", rule)]
    rules += [] if alone else ["--assume-in-transaction"]
    done = subprocess.run(
        [squawk, "--reporter", "json", "--pg-version", "15.0", *rules],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.long
async def test_squawk_finds_no_fault_with_the_migrations(bare: str) -> None:
    statements = await emitted(bare, "head")
    assert len(statements) > 50
    ours = [each for each in statements if "alembic_version" not in each]
    assert ours[0].startswith("SET LOCAL lock_timeout")
    outside = re.compile("SET lock_timeout|.*(CONCURRENTLY|COMMIT;)", re.DOTALL)
    alone = [each for each in ours if outside.match(each)]
    assert linted([each for each in ours if each not in alone]) == []
    assert linted(alone, alone=True) == []
    assert linted(["ALTER TABLE claims DROP COLUMN note"]) != []


_ADD_PRINTED = """
    INSERT INTO claims (id, text, attributions, appearances, places, assessments)
    VALUES (gen_random_uuid(), $1, '[{"position": 0, "printed": "he"}]', $2,
        '[{"role": "event", "name": "Kursk", "country_code": "RU", "latitude": 1, "longitude": 2},
          {"role": "scope", "name": "the “front”"}]',
        '[{"assessor": "Süd", "scheme": "s", "label": "True"}]')"""


@pytest.mark.long
async def test_filters_know_the_parts_of_records_that_there_were_before(bare: str) -> None:
    await schema.migrate(bare, "0017")
    connection = await asyncpg.connect(bare)
    try:
        appearances = json.dumps(
            [
                {"article_id": str(await add_article(connection)), "anchor": anchor}
                | {"quote_type": "direct", "stance": "neutral"}
                | {"spans": [{"role": role, "start": 7}, {"role": "cue", "start": 3}]}
                for anchor, role in (("exact", "content"), ("exact", "date"), ("orphaned", "date"))
            ]
        )
        await connection.execute(_ADD_PRINTED, "before", appearances)
        await connection.execute(_ADD_PRINTED, "gone", appearances)
        await connection.execute("UPDATE claims SET deleted_at = now() WHERE text = 'gone'")
        await connection.execute(ADD_DENIAL, appearances)
        before = await _links(connection, "before")
        events = await connection.fetchval("SELECT count(*) FROM outbox")

        await schema.migrate(bare, "0018")
        assert await connection.fetchval("SELECT count(*) FROM outbox") == events
        found = await _parts(connection, "before")
        assert [row["reading_order"] for row in found["links"]] == [7, 2**31 + 3, None]
        assert (len(found["places"]), len(found["assessments"])) == (2, 1)
        assert not any((await _parts(connection, "gone")).values())
        of_denials = "SELECT count(*) FROM links WHERE owner_type = 'denial' AND stance = 'neutral'"
        assert await connection.fetchval(of_denials) == 3
        await connection.execute(_ADD_PRINTED, "after", appearances)
        assert await _parts(connection, "after") == found

        await schema.migrate(bare, "0017")
        assert await _links(connection, "before") == before
        await connection.execute("UPDATE claims SET note = 'changed'")
        await schema.migrate(bare, "0018")
        assert await _parts(connection, "before") == found
    finally:
        await connection.close()


async def _links(connection: asyncpg.Connection[asyncpg.Record], text: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        "SELECT l.* FROM links AS l JOIN claims AS c ON c.id = l.owner_id WHERE c.text = $1"
        " ORDER BY l.article_id",
        text,
    )


async def _parts(
    connection: asyncpg.Connection[asyncpg.Record], text: str
) -> dict[str, list[asyncpg.Record]]:
    """Read what filters know of the parts of a claim."""
    queries = {
        "links": "SELECT l.label, l.quote_type, l.stance, l.reading_order FROM links AS l"
        " WHERE l.owner_id = $1 AND l.link = 'appearance' ORDER BY l.label, l.reading_order",
        "places": "SELECT p.role, p.words::text, p.country_code, p.spot FROM places AS p"
        " WHERE p.claim_id = $1 ORDER BY p.role",
        "assessments": "SELECT a.assessor, a.label FROM assessments AS a WHERE a.claim_id = $1",
    }
    claim = await connection.fetchval("SELECT id FROM claims WHERE text = $1", text)
    return {name: await connection.fetch(query, claim) for name, query in queries.items()}


@pytest.mark.long
async def test_rows_name_the_sources_of_chains_that_there_were_before(bare: str) -> None:
    await schema.migrate(bare, "0018")
    connection = await asyncpg.connect(bare)
    try:
        first, also, last, via = [
            str(await connection.fetchval(_ADD_SOURCE, name)) for name in "ABCD"
        ]
        chain = [
            {"source_id": also},
            {"position": 0, "source_id": first, "audience_id": via},
            {"position": 2, "source_id": last, "via_id": via},
            {"position": 2, "printed": "officials"},
        ]
        add = "INSERT INTO claims (id, text, attributions) VALUES (gen_random_uuid(), $1, $2)"
        for text, hops in (("before", chain), ("nobody", [])):
            await connection.execute(add, text, json.dumps(hops))
        events = await connection.fetchval("SELECT count(*) FROM outbox")

        await schema.migrate(bare, "0019")
        assert await connection.fetchval("SELECT count(*) FROM outbox") == events
        found = [set(each) for each in await _chain(connection, "before")]
        assert found == [{first, also}, {last}, {first, also, last, via}]
        assert await _chain(connection, "nobody") == [[], [], []]
        await connection.execute(add, "after", json.dumps(chain))
        assert await _chain(connection, "after") == await _chain(connection, "before")
        change = "UPDATE claims SET attributions = $2 WHERE text = $1"
        await connection.execute(change, "after", json.dumps(chain[:1]))
        assert await _chain(connection, "after") == [[also], [also], [also]]
    finally:
        await connection.close()


_ADD_SOURCE: Final = """
    INSERT INTO sources (id, kind, identification, name)
    VALUES (gen_random_uuid(), 'person', 'named', $1) RETURNING id"""


async def _chain(connection: asyncpg.Connection[asyncpg.Record], text: str) -> list[list[str]]:
    """Read which sources the row of a claim names."""
    columns = "first_source_ids::text[], last_source_ids::text[], source_ids::text[]"
    row = await connection.fetchrow(f"SELECT {columns} FROM claims WHERE text = $1", text)
    assert row is not None
    return [list(each) for each in row]


async def before_statement(url: str, target: str, begin: str, query: str) -> list[Any]:
    """Migrate, and give what a query finds just before the statement that begins so."""
    found: list[Any] = []

    def look(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.strip().startswith(begin):
            found.extend(connection.exec_driver_sql(query).scalars())

    event.listen(Engine, "before_cursor_execute", look)
    try:
        await schema.migrate(url, target)
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    return found


@pytest.mark.long
async def test_chains_go_on_where_they_were_cut_off(bare: str) -> None:
    """An import that is open is waited for; who ends the migration meanwhile can begin it again."""
    await schema.migrate(bare, "0018")
    index = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('links_answers_idx')"
    tables = "SELECT relfilenode FROM pg_class WHERE relname IN ('claims', 'denials') ORDER BY 1"
    connection = await asyncpg.connect(bare)
    try:
        await cut_off(bare, "0019", "links")
        assert await schema.current(bare) == "0018"
        assert await connection.fetchval(index) is False
        written = await connection.fetch(tables)

        begin = "CREATE INDEX CONCURRENTLY"
        waits = await before_statement(bare, "0019", begin, "SHOW lock_timeout")
        assert waits == ["0"]  # for as long as it takes
        assert await connection.fetchval(index) is True
        assert await connection.fetch(tables) == written  # not once more
    finally:
        await connection.close()


@pytest.mark.long
@pytest.mark.parametrize(("version", "table"), [("0024", "sources"), ("0025", "sources")])
async def test_what_is_cut_off_at_an_index_can_begin_again(
    bare: str, version: str, table: str
) -> None:
    before = f"{int(version) - 1:04}"
    await schema.migrate(bare, before)
    await cut_off(bare, version, table)
    assert await schema.current(bare) == before
    begin = "CREATE INDEX CONCURRENTLY"
    waits = await before_statement(bare, version, begin, "SHOW lock_timeout")
    assert set(waits) == {"0"}
    assert await schema.current(bare) == version


async def cut_off(url: str, version: str, table: str) -> None:
    """Migrate while somebody writes to a table, and end that where it waits to index the table."""
    end = (
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
    )
    connection, writer = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        async with writer.transaction():
            await writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            migrating = asyncio.create_task(schema.migrate(url, version))
            async with asyncio.timeout(PATIENCE):
                while not await connection.fetchval(end):
                    assert not migrating.done()
            with pytest.raises(schema.MigrationError, match="user request"):
                await migrating
    finally:
        await writer.close()
        await connection.close()


_ADD_RELATED = """
    INSERT INTO claims (id, text, relations)
    SELECT gen_random_uuid(), $1, json_build_array(
        json_build_object('claim_id', c.id, 'kind', 'restates', 'state', 'rejected')
    )
    FROM claims AS c WHERE c.text = 'said first'"""
_STATES = """
    SELECT c.text, l.label, l.state FROM links AS l JOIN claims AS c ON c.id = l.owner_id
    WHERE l.link = 'relation' ORDER BY c.text"""


@pytest.mark.long
async def test_links_know_the_states_of_relations_that_there_were_before(bare: str) -> None:
    await schema.migrate(bare, "0019")
    connection = await asyncpg.connect(bare)
    try:
        await connection.execute(
            "INSERT INTO claims (id, text) VALUES (gen_random_uuid(), 'said first')"
        )
        for text in ("before", "gone"):
            await connection.execute(_ADD_RELATED, text)
        await connection.execute("UPDATE claims SET deleted_at = now() WHERE text = 'gone'")
        events = await connection.fetchval("SELECT count(*) FROM outbox")

        await schema.migrate(bare, "0020")
        assert await connection.fetchval("SELECT count(*) FROM outbox") == events
        await connection.execute(_ADD_RELATED, "then")
        found = [("before", "restates", "rejected"), ("then", "restates", "rejected")]
        assert [tuple(row) for row in await connection.fetch(_STATES)] == found

        await schema.migrate(bare, "0019")
        await connection.execute(_ADD_RELATED, "without")
        await schema.migrate(bare, "0020")
        found.append(("without", "restates", "rejected"))
        assert [tuple(row) for row in await connection.fetch(_STATES)] == found
    finally:
        await connection.close()


@pytest.mark.long
async def test_links_are_read_and_written_while_their_states_are_derived(bare: str) -> None:
    await schema.migrate(bare, "0019")
    held = (
        "SELECT DISTINCT mode FROM pg_locks"
        " WHERE relation = 'links'::regclass AND pid = pg_backend_pid() AND granted"
    )
    locks = await before_statement(bare, "0020", "ANALYZE links", held)
    assert locks
    assert set(locks) <= {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}

    connection = await asyncpg.connect(bare)
    try:  # a migration that was cut off has left the column
        before = await described(bare)
        await connection.execute("UPDATE alembic_version SET version_num = '0019'")
        await schema.migrate(bare, "0020")
        assert await described(bare) == before
    finally:
        await connection.close()


_ADD_PLAIN = "INSERT INTO claims (id, text) VALUES (gen_random_uuid(), $1)"


@pytest.mark.long
async def test_changes_that_have_their_number_get_their_text(bare: str) -> None:
    """Also those that a migration which was cut off has left without one."""
    await schema.migrate(bare, "0020")
    connection = await asyncpg.connect(bare)
    texts = (
        "SELECT to_jsonb(f) - 'head', convert_from(f.head, 'UTF8') FROM feed AS f ORDER BY f.seq"
    )
    try:
        for text in ("one", "two"):
            await connection.execute(_ADD_PLAIN, text)
            await connection.execute("SELECT sequence_feed(true)")
        await schema.migrate(bare, "0021")
        written = await connection.fetch(texts)
        assert [json.loads(head + "null}")["seq"] for _, head in written] == [1, 2]

        await connection.execute("ALTER TABLE feed DROP CONSTRAINT feed_head_check")
        await connection.execute("UPDATE feed SET head = NULL WHERE seq = 2")
        await connection.execute("UPDATE alembic_version SET version_num = '0020'")
        await schema.migrate(bare, "0021")
        assert await connection.fetch(texts) == written

        await schema.migrate(bare, "0020")
        await connection.execute(_ADD_PLAIN, "three")
        await connection.execute("SELECT sequence_feed(true)")
        await schema.migrate(bare, "0021")
        assert (await connection.fetch(texts))[:2] == written
        await connection.execute(_ADD_PLAIN, "four")
        await connection.execute("SELECT sequence_feed(true)")
        assert await connection.fetchval("SELECT count(head) FROM feed") == 4
    finally:
        await connection.close()


async def test_the_newest_blocks_of_the_feed_get_ids(bare: str) -> None:
    await schema.migrate(bare, "0027")
    connection = await asyncpg.connect(bare)
    try:
        await connection.execute("INSERT INTO feed_blocks (block) SELECT generate_series(0, 4999)")
        for _ in range(2):
            await schema.migrate(bare, "0028")
            named = (
                "SELECT count(id), count(DISTINCT id), min(block) FILTER (WHERE id IS NOT NULL)"
                " FROM feed_blocks WHERE block < 5000"
            )
            counts = await connection.fetchrow(named)
            assert counts is not None
            assert tuple(counts) == (4096, 4096, 904)
            made = "INSERT INTO feed_blocks (block) VALUES (5000) RETURNING id"
            assert await connection.fetchval(made) is not None
            await connection.execute("DELETE FROM feed_blocks WHERE block = 5000")
            await schema.migrate(bare, "0027")
            assert await connection.fetchval("SELECT count(*) FROM feed_blocks") == 5000
    finally:
        await connection.close()


_BOUNDS: Final = """
    SELECT at::text, time_from(at)::text, time_until(at)::text
    FROM unnest(ARRAY[
        NULL, '{}', '{"expression": "then"}',
        '{"earliest": "2024-02-29"}', '{"latest": "2024-12-31"}',
        '{"earliest": "2024-01-01", "latest": "2024-01-31"}',
        '{"earliest": "2024-01-01T12:00:00+09:00", "latest": null}',
        '{"earliest": null, "latest": "2024-01-01T12:00:00.123456Z"}',
        '{"earliest": "0001-01-01", "latest": "9999-12-31"}'
    ]::json[]) AS at"""


_CREDITED: Final = """
    SELECT each::text, has_source(each), is_credited(each)
    FROM unnest(ARRAY[
        NULL, '[]', '[{}]', '[{"source_id": null, "printed": null}]', '[{"printed": "he"}]',
        '[{"note": "\\"source_id\\":\\"x\\""}]', '[{}, {"source_id": "x"}]'
    ]::json[]) AS each"""


@pytest.mark.long
async def test_bounds_and_credits_are_what_they_were(bare: str) -> None:
    await schema.migrate(bare, "0029")
    before = [await _answers(bare, query) for query in (_BOUNDS, _CREDITED)]
    await schema.migrate(bare, "0034")
    assert [await _answers(bare, query) for query in (_BOUNDS, _CREDITED)] == before
    assert [len({row[1:] for row in rows}) for rows in before] == [7, 3]  # and they do differ


async def _answers(url: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_records_have_the_digests_of_their_documents(bare: str) -> None:
    """Those that there were, and those whose documents are written with the triggers off."""
    await schema.migrate(bare, "0029")
    connection = await asyncpg.connect(bare)
    try:
        await connection.execute(_ADD_PLAIN, "one")
        before = await connection.fetch("SELECT id, version, updated_at, doc FROM claims")
        wrong = "SELECT count(*) FROM claims WHERE digest IS DISTINCT FROM sha256(doc)"
        for _ in range(2):
            await schema.migrate(bare, "0031")
            now = await connection.fetch("SELECT id, version, updated_at, doc FROM claims")
            assert now == before
            assert await connection.fetchval(wrong) == 0
            await schema.migrate(bare, "0029")
        await schema.migrate(bare, "0031")
        await connection.execute(_ADD_PLAIN, "two")
        await connection.execute("ALTER TABLE claims DISABLE TRIGGER USER")
        rewrite = "UPDATE claims SET doc = convert_to($1, 'UTF8') WHERE doc = $2"
        await connection.execute(rewrite, "{}", before[0]["doc"])
        assert await connection.fetchval(wrong) == 0
        assert await connection.fetchval("SELECT count(DISTINCT digest) FROM claims") == 2
    finally:
        await connection.close()
