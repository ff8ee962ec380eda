"""Claims and denials are hidden while an article in which they appear is hidden."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api.access.embargoes import lift
from api.core import cursor
from api.core.caller import HIDDEN, READER, Caller
from api.core.db import Database
from api.records.nouns import RESOURCES
from api.settings import Settings
from api.sync.feed import positions
from api.sync.feed.stretches import Position
from schemas.vocabularies import RecordType, Scope
from tests.conftest import PATIENCE, patient, serving
from tests.factories import Connection
from tests.test_changes import walk


def printed_in(*articles: UUID) -> str:
    """Write appearances in articles, without words."""
    return json.dumps([{"article_id": str(each), "quote_type": "direct"} for each in articles])


async def add_article(connection: Connection, status: str = "usable", **more: Any) -> UUID:
    identity = uuid4()
    columns = {"id": identity, "headline": "A headline", "status": status, **more}
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await connection.execute(
        f"INSERT INTO articles ({', '.join(columns)}) VALUES ({places})", *columns.values()
    )
    return identity


ADD_CLAIM = (
    "INSERT INTO claims (id, text, review_status, appearances)"
    " VALUES (gen_random_uuid(), 'x', 'published', $1) RETURNING id"
)
ADD_DENIAL = (
    "INSERT INTO denials (id, text, kind, observed_by, targets, review_status, appearances)"
    " VALUES (gen_random_uuid(), 'x', 'full_denial', 'responder_statement',"
    ' \'[{"text": "all of it", "coverage": "explicit"}]\', \'published\', $1) RETURNING id'
)
SET_STATUS = "UPDATE articles SET status = $2 WHERE id = $1"


async def class_of(connection: Connection, identity: UUID, table: str = "claims") -> int:
    found: int = await connection.fetchval(
        f"SELECT visibility FROM {table} WHERE id = $1", identity
    )
    return found


@pytest.fixture
async def pair(empty_url: str) -> AsyncIterator[tuple[Connection, Connection]]:
    """Make two connections to one database."""
    first, second = await asyncpg.connect(empty_url), await asyncpg.connect(empty_url)
    try:
        yield first, second
    finally:
        await first.close()
        await second.close()


@asynccontextmanager
async def waiting(
    watcher: Connection, worker: Connection, statement: str, *arguments: Any
) -> AsyncIterator[asyncio.Task[Any]]:
    """Execute a statement that has to wait for a lock, until the end of the block."""
    task = asyncio.ensure_future(worker.fetchval(statement, *arguments))
    pid = worker.get_server_pid()
    async with asyncio.timeout(PATIENCE):
        while not await watcher.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
            assert not task.done()
    yield task
    await task


# --- two connections -------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [("usable", "withheld"), ("withheld", "usable")])
@pytest.mark.parametrize("insert", [ADD_CLAIM, ADD_DENIAL])
async def test_what_is_written_while_its_article_changes_waits_for_the_article(
    pair: tuple[Connection, Connection], before: str, after: str, insert: str
) -> None:
    editor, writer = pair
    article = await add_article(editor, before)
    table = "claims" if insert is ADD_CLAIM else "denials"
    transaction = editor.transaction()
    await transaction.start()
    await editor.execute(SET_STATUS, article, after)
    async with waiting(editor, writer, insert, printed_in(article)) as writing:
        await transaction.commit()
    assert await class_of(editor, writing.result(), table) == (HIDDEN if after != "usable" else 0)


@pytest.mark.parametrize(("before", "after"), [("usable", "withheld"), ("withheld", "usable")])
async def test_an_article_waits_for_what_is_being_written_and_then_takes_it_along(
    pair: tuple[Connection, Connection], before: str, after: str
) -> None:
    editor, writer = pair
    article = await add_article(editor, before)
    transaction = writer.transaction()
    await transaction.start()
    claim = await writer.fetchval(ADD_CLAIM, printed_in(article))
    async with waiting(writer, editor, SET_STATUS, article, after):
        await transaction.commit()
    assert await class_of(editor, claim) == (HIDDEN if after != "usable" else 0)
    assert await editor.fetchval("SELECT version FROM claims") == 2


async def test_an_appearance_that_is_added_meanwhile_is_seen_too(
    pair: tuple[Connection, Connection],
) -> None:
    editor, writer = pair
    article, other = await add_article(editor), await add_article(editor)
    claim = await writer.fetchval(ADD_CLAIM, printed_in(other))
    move = "UPDATE claims SET appearances = $2 WHERE id = $1"
    transaction = editor.transaction()
    await transaction.start()
    await editor.execute(SET_STATUS, article, "withheld")
    async with waiting(editor, writer, move, claim, printed_in(other, article)):
        await transaction.commit()
    assert await class_of(editor, claim) == HIDDEN
    await writer.execute(move, claim, printed_in(other))
    assert await class_of(editor, claim) == 0


async def test_a_claim_that_is_restored_meanwhile_is_hidden(
    pair: tuple[Connection, Connection],
) -> None:
    editor, writer = pair
    article = await add_article(editor)
    claim = await writer.fetchval(ADD_CLAIM, printed_in(article))
    await writer.execute("UPDATE claims SET deleted_at = now() WHERE id = $1", claim)
    transaction = editor.transaction()
    await transaction.start()
    await editor.execute(SET_STATUS, article, "withheld")
    restore = "UPDATE claims SET deleted_at = NULL WHERE id = $1"
    async with waiting(editor, writer, restore, claim):
        await transaction.commit()
    assert await class_of(editor, claim) == HIDDEN


async def test_a_change_that_leaves_the_articles_alone_does_not_wait_for_them(
    pair: tuple[Connection, Connection],
) -> None:
    editor, writer = pair
    article = await add_article(editor)
    claim = await writer.fetchval(ADD_CLAIM, printed_in(article))
    async with editor.transaction():
        await editor.execute("UPDATE articles SET note = 'x' WHERE id = $1", article)
        await writer.execute("SET lock_timeout = '1ms'")
        await writer.execute("UPDATE claims SET note = 'x' WHERE id = $1", claim)
    assert await class_of(editor, claim) == 0
    await writer.execute("UPDATE claims SET visibility = 4 WHERE id = $1", claim)
    assert await class_of(editor, claim) == 0  # the trigger derives it


async def test_an_article_that_comes_after_what_appears_in_it_hides_it(
    pair: tuple[Connection, Connection],
) -> None:
    connection, _ = pair
    article = uuid4()
    async with connection.transaction():
        await connection.execute("SET CONSTRAINTS ALL DEFERRED")
        claim = await connection.fetchval(ADD_CLAIM, printed_in(article))
        await add_article(connection, "withheld", id=article)
    assert await class_of(connection, claim) == HIDDEN


# --- many records ----------------------------------------------------------------------------


@pytest.mark.long
async def test_what_appears_in_an_article_follows_it_in_the_order_of_the_feed(
    pair: tuple[Connection, Connection],
) -> None:
    connection, _ = pair
    article = await add_article(connection)
    count = 1_203  # more than two batches
    await connection.execute(
        "INSERT INTO claims (id, text, review_status, appearances)"
        " SELECT gen_random_uuid(), 'x', 'published', $1::text::json FROM generate_series(1, $2)",
        printed_in(article),
        count,
    )
    await connection.fetchval(ADD_DENIAL, printed_in(article))
    for status, hidden in (("withheld", True), ("usable", False)):
        last = await connection.fetchval("SELECT max(id) FROM outbox")
        await connection.execute(SET_STATUS, article, status)
        rows = await connection.fetch(
            "SELECT o.record_type, o.record_id, o.visibility_before, o.visibility_after, o.xid,"
            " r.actor, r.op FROM outbox AS o JOIN revisions AS r"
            " USING (record_type, record_id, version) WHERE o.id > $1 ORDER BY o.id",
            last,
        )
        types = [row["record_type"] for row in rows]
        followers = ["claim"] * count + ["denial"]
        assert types == ([*followers, "article"] if hidden else ["article", *followers])
        assert len({row["xid"] for row in rows}) == 1
        claims = [row for row in rows if row["record_type"] == "claim"]
        assert {(row["actor"], row["op"]) for row in claims} == {("system", "updated")}
        classes = (0, HIDDEN) if hidden else (HIDDEN, 0)
        assert {tuple(row)[2:4] for row in claims} == {classes}
        batches = [
            [row["record_id"] for row in claims[start : start + 500]]
            for start in range(0, count, 500)
        ]
        assert [each for batch in batches for each in sorted(batch)] == sorted(
            row["record_id"] for row in claims
        )


_STEPS = """
    LOAD 'auto_explain';
    SET auto_explain.log_min_duration = 0;
    SET auto_explain.log_nested_statements = on;
    SET auto_explain.log_analyze = on;
    SET auto_explain.log_timing = off;
    SET auto_explain.log_format = json;
    SET client_min_messages = log"""


async def _rows_passed(connection: Connection, statement: str) -> float:
    """Count the rows that all nodes of the plans of a statement and of its triggers give."""
    plans: list[str] = []

    def note(_: object, message: asyncpg.PostgresLogMessage) -> None:
        plans.append(str(message.message))

    connection.add_log_listener(note)
    await connection.execute(_STEPS)
    await connection.execute(statement)
    await connection.execute("RESET client_min_messages")
    await asyncio.sleep(0)
    connection.remove_log_listener(note)
    assert plans

    def rows(plan: dict[str, Any]) -> float:
        skipped = plan.get("Rows Removed by Join Filter", 0)
        own = (plan["Actual Rows"] + skipped) * plan["Actual Loops"]
        return float(own) + sum(map(rows, plan.get("Plans", [])))

    return sum(rows(json.loads(text[text.index("{") :])["Plan"]) for text in plans)


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE claims SET text = text || 'x'",
        "UPDATE claims SET appearances = replace(appearances::text, 'direct', 'mixed')::json",
        """UPDATE claims SET quantities = '[{"metric": "killed", "qualifier": "vague"}]'""",
        """UPDATE claims SET places = '[{"role": "event", "name": "Kursk"}]'""",
        """UPDATE claims SET assessments = '[{"assessor": "A", "label": "false"}]'""",
        (
            "UPDATE claims SET external_ids ="
            """ ('[{"namespace": "n", "value": "' || id || '"}]')::json"""
        ),
        "UPDATE claims SET deleted_at = now()",
        "UPDATE articles SET status = 'withheld'",
    ],
)
async def test_a_change_of_ten_times_as_many_rows_takes_ten_times_as_many_steps(
    pair: tuple[Connection, Connection], change: str
) -> None:
    connection, _ = pair
    article = await add_article(connection)
    fill = (
        "INSERT INTO claims (id, text, review_status, appearances, note)"
        " SELECT gen_random_uuid(), 'x', 'published', $1::text::json, $3"
        " FROM generate_series(1, $2)"
    )
    steps = []
    for count in (20, 200):
        # Postgres keeps the plans that it made for one row.
        await connection.execute(fill, printed_in(article), 1, f"one{count}")
        for _ in range(7):
            await connection.execute(
                "UPDATE claims SET text = text || 'y',"
                " appearances = CASE WHEN appearances::text LIKE '%indirect%'"
                " THEN replace(appearances::text, 'indirect', 'direct')::json"
                " ELSE replace(appearances::text, 'direct', 'indirect')::json END"
                f" WHERE note = 'one{count}'"
            )
        await connection.execute(fill, printed_in(article), count, f"many{count}")
        limited = change if "articles" in change else f"{change} WHERE note = 'many{count}'"
        async with connection.transaction():
            steps.append(await _rows_passed(connection, limited))
        if "articles" in change:
            await connection.execute(SET_STATUS, article, "usable")
    few, many = steps
    assert many < 15 * few, steps


# --- through the service ---------------------------------------------------------------------


async def test_readers_are_told_in_an_order_in_which_no_word_is_left_alone(empty_url: str) -> None:
    async with serving(empty_url) as full:
        reader = httpx.AsyncClient(transport=full._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
        article = (await full.post("/v1/articles", json={"headline": "h"})).json()
        printed = {"appearances": [{"article_id": article["id"], "quote_type": "direct"}]}
        claim = {"text": "x", "review_status": "published", **printed}
        made = (await full.post("/v1/claims", json=claim)).json()
        since = (await reader.get("/v1/changes?since=now")).json()["next_cursor"]
        patch = {"if-match": "*", "content-type": "application/merge-patch+json"}
        path = f"/v1/articles/{article['id']}"
        for status in ("taken_down", "retracted"):
            answer = await full.patch(path, json={"status": status}, headers=patch)
            assert answer.status_code == httpx.codes.OK
        told = [(each["type"], each["op"]) for each in await walk(reader, since)]
        assert told == [
            ("claim", "removed"),
            ("article", "removed"),
            ("article", "created"),
            ("claim", "created"),
        ]
        history = (await full.get(f"/v1/claims/{made['id']}/revisions")).json()["items"]
        assert [each["actor"] for each in history[:2]] == ["system", "system"]
        assert [each["changed"] for each in history[:2]] == [[], []]


async def test_the_end_of_an_articles_embargo_shows_what_appears_in_it(empty_url: str) -> None:
    database = Database(empty_url, patient(pool_size=2))
    connection = await asyncpg.connect(empty_url)
    try:
        await database.open()
        article = await add_article(connection)
        claim = await connection.fetchval(ADD_CLAIM, printed_in(article))
        await connection.execute(
            "UPDATE articles SET embargoed_until = clock_timestamp() + interval '1 d'"
        )
        assert await class_of(connection, claim) == HIDDEN
        await connection.execute("SET session_replication_role = replica")  # a day later
        await connection.execute("UPDATE articles SET embargoed_until = now(), lifts_at = now()")
        assert await lift(database, RESOURCES.values()) == 1
        assert await class_of(connection, claim) == 0
    finally:
        await database.close()
        await connection.close()


async def let_articles_take_long(connection: Connection, settings: Settings) -> None:
    """Have Postgres end each update of an article that has less time than those of an import."""
    milliseconds = int(settings.import_statement_seconds * 1000)
    await connection.execute(
        "CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT setting FROM pg_settings WHERE name = 'statement_timeout')"
        f" <> '{milliseconds}' THEN"
        " RAISE EXCEPTION 'canceling statement' USING ERRCODE = 'query_canceled';"
        " END IF; RETURN NEW; END $$"
    )
    await connection.execute(
        "CREATE TRIGGER articles_take_long BEFORE UPDATE ON articles"
        " FOR EACH ROW EXECUTE FUNCTION take_long()"
    )


async def test_an_article_is_hidden_however_much_appears_in_it(empty_url: str) -> None:
    """The database writes that with it, in one statement: 8,000 claims can take more than 5 s."""
    settings = patient(pool_size=2)
    connection = await asyncpg.connect(empty_url)
    try:
        async with serving(empty_url, settings) as full:
            article = (await full.post("/v1/articles", json={"headline": "h"})).json()
            await let_articles_take_long(connection, settings)
            path = f"/v1/articles/{article['id']}"
            patch = {"if-match": "*", "content-type": "application/merge-patch+json"}
            for change in (
                {"status": "withheld"},
                {"status": "usable"},
                {"embargoed_until": "2099-01-01T00:00:00Z"},
                {"embargoed_until": None},
            ):
                answer = await full.patch(path, json=change, headers=patch)
                assert answer.status_code == httpx.codes.OK, answer.text
            answer = await full.patch(path, json={"note": "another"}, headers=patch)
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    finally:
        await connection.close()


async def test_embargoes_end_however_much_appears_in_their_articles(empty_url: str) -> None:
    """A statement that takes too long is given more time: it would take as long for ever."""
    settings = patient(pool_size=2)
    database = Database(empty_url, settings)
    connection = await asyncpg.connect(empty_url)
    try:
        await database.open()
        article = await add_article(connection)
        claim = await connection.fetchval(ADD_CLAIM, printed_in(article))
        await connection.execute(
            "UPDATE articles SET embargoed_until = clock_timestamp() + interval '1 d'"
        )
        await connection.execute("SET session_replication_role = replica")  # a day later
        await connection.execute("UPDATE articles SET embargoed_until = now(), lifts_at = now()")
        await let_articles_take_long(connection, settings)
        assert await lift(database, RESOURCES.values()) == 1
        assert await class_of(connection, claim) == 0
    finally:
        await database.close()
        await connection.close()


EDITOR = Caller(key_id=None, scopes=frozenset({Scope.DRAFTS_READ}))
CLAIM_WRITER = Caller(key_id=None, scopes=frozenset({Scope.READ, Scope.CLAIMS_WRITE}))


@pytest.mark.parametrize("caller", [READER, EDITOR, CLAIM_WRITER])
def test_a_cursor_from_before_goes_on_for_its_reader(caller: Caller) -> None:
    """Its reader had seen what was hidden since; events in the feed behind it hide that."""
    of_list = positions._LIST  # noqa: SLF001 - as the earlier version wrote it
    covered = {
        record_type.value: tuple(each for each in classes if each < HIDDEN)
        for record_type, classes in caller.classes.items()
    }
    earlier = cursor.write(of_list, ["epoch", 1, "tag", covered])
    position, seen = positions._read(earlier, caller)  # noqa: SLF001
    assert position == Position("epoch", 1, "tag")
    assert {name: set(each or ()) for name, each in seen.items()} == {
        record_type.value: set(classes) for record_type, classes in caller.classes.items()
    }
    now = positions.written(position, CLAIM_WRITER, tuple(RESOURCES))
    _, seen = positions._read(now, caller)  # noqa: SLF001
    wanted = set(caller.classes[RecordType.CLAIM])
    assert (set(seen["claim"] or ()) == wanted) is (caller is CLAIM_WRITER)


async def test_articles_are_looked_at_by_a_plan_that_is_kept(
    pair: tuple[Connection, Connection],
) -> None:
    """Postgres tells whenever it plans; of few small articles it keeps any plan."""
    connection, _ = pair
    await connection.execute(
        "INSERT INTO articles (id, headline, note)"
        " SELECT gen_random_uuid(), 'x', repeat('word ', 500) FROM generate_series(1, 300)"
    )
    await connection.execute("ANALYZE articles")
    articles = [await add_article(connection) for _ in range(3)]
    told: list[str] = []
    connection.add_log_listener(lambda _, log: told.append(log.message or ""))
    await connection.execute("SET log_planner_stats = on; SET client_min_messages = log")
    for printed in (articles[:1], articles, articles[1:]):
        told.clear()
        for _ in range(10):
            await connection.fetchval("SELECT articles_hidden($1::uuid[])", printed)
    await asyncio.sleep(0.01)  # the event loop passes on what was told
    assert told.count("PLANNER STATISTICS") == 0
