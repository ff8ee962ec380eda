"""The texts of the feed: a reader gets of the log what is for this reader to know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import httpx
import pytest

from api.core.caller import EVERYTHING, READER, Caller
from api.sync.feed import stretches
from schemas.vocabularies import RecordType, Scope
from tests.conftest import counted_calls
from tests.factories import EVERY, create
from tests.test_changes import asking, cursor_of, let_embargoes_end, owner, page, reader
from tests.world import World

READERS: Final = (
    (),
    (Scope.READ,),
    (Scope.DRAFTS_READ,),
    (Scope.READ, Scope.CONFIDENTIAL_READ),
    (Scope.READ, Scope.CLAIMS_WRITE),
    (Scope.READ, Scope.ARTICLES_WRITE),
    (Scope.READ, Scope.SOURCES_WRITE, Scope.CONFIDENTIAL_READ),
    tuple(Scope),
)
TYPES: Final = (tuple(RecordType), (RecordType.CLAIM,), (RecordType.SOURCE, RecordType.DENIAL))
LOG: Final = """
    SELECT f.seq, o.op, o.record_type, o.record_id::text, o.version, o.at,
           o.visibility_before, o.visibility_after, r.doc, r.article_ids::text[] AS article_ids
    FROM feed AS f JOIN outbox AS o ON o.id = f.outbox_id
    JOIN revisions AS r
        ON r.record_type = o.record_type AND r.record_id = o.record_id AND r.version = o.version
    ORDER BY f.seq"""
TODAY: Final = " UNION ALL ".join(
    f"SELECT '{each}' AS type, id::text, version, visibility FROM {each}s" for each in RecordType
)


class Log:
    """The log of all changes, and the records of today."""

    def __init__(self, rows: list[asyncpg.Record], today: list[asyncpg.Record]) -> None:
        """Keep the rows."""
        self.rows = rows
        self.today = {(row["type"], row["id"]): row for row in today}

    def texts(self, caller: Caller, types: tuple[RecordType, ...]) -> list[bytes]:
        """Write the changes of some types as a caller may know them, one by one."""
        texts = [self._text(row, caller) for row in self.rows if row["record_type"] in types]
        return [text for text in texts if text is not None]

    def _text(self, row: asyncpg.Record, caller: Caller) -> bytes | None:
        classes = caller.classes[RecordType[row["record_type"].upper()]]
        before, after = row["visibility_before"] in classes, row["visibility_after"] in classes
        if not (before or after) or (not before and row["op"] == "deleted"):
            return None
        op = "removed" if not after else row["op"] if before else "created"
        now = self.today[row["record_type"], row["record_id"]]
        hidden = now["version"] != row["version"] and not caller.sees_hidden_articles
        quotes_hidden = hidden and any(
            self.today["article", each]["visibility"] > 0 for each in row["article_ids"] or ()
        )
        shown = after and now["visibility"] in classes and not quotes_hidden
        head = {
            "seq": row["seq"],
            "op": op,
            "type": row["record_type"],
            "id": row["record_id"],
            "version": row["version"],
            "at": row["at"].isoformat().replace("+00:00", "Z"),
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        return b'%b,"record":%b}' % (text[:-1], (shown and row["doc"]) or b"null")


async def read_log(url: str) -> Log:
    async with owner(url) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        await connection.fetch("SELECT * FROM sequence_feed(true)")
        return Log(await connection.fetch(LOG), await connection.fetch(TODAY))


async def fill(client: httpx.AsyncClient, url: str) -> None:
    """Make changes of every kind: of each type, by each operation, in and out of sight."""
    world = World(client)
    for noun in EVERY.values():
        await create(client, noun)
    await world.add("articles", "a", text="Said so.")
    printed = {"appearances": [{"article_id": world.id("a")}]}
    await world.add("claims", "printed", review_status="published", **printed)
    await world.add("claims", "moved", review_status="published", **printed)
    await world.patch("moved", appearances=[])
    await world.add("claims", "draft")
    await world.patch("draft", review_status="published")
    await world.patch("draft", review_status="killed")
    await world.add("sources", "s")
    for level in ("restricted", "internal", "protected", "public", "restricted"):
        await world.patch("s", confidentiality=level)
    for name, more in (("hidden", {}), ("open", {"review_status": "published"})):
        await world.add("denials", name, **more)
        tombstone = await world.delete(name)
        match = {"if-match": tombstone.headers["etag"]}
        await client.post(f"{world.at(name)}/restore", headers=match)
    await world.delete("open")
    for plural in ("articles", "claims"):
        await world.add(plural, f"later {plural}", embargoed_until="2999-01-01T00:00:00Z")
    await world.patch("later claims", review_status="published")
    since = await cursor_of(client)
    await let_embargoes_end(url, "articles")
    assert (await page(client, since, wait=30))["items"]
    await world.patch("a", status="withheld")
    async with owner(
        url
    ) as connection:  # an instant without a fraction, and one that ends in zeros
        for at in ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.1Z"):
            await connection.execute(
                "INSERT INTO outbox (record_type, record_id, version, op, at, visibility_after)"
                f" SELECT record_type, record_id, version, op, '{at}', visibility FROM revisions"
                " WHERE op = 'created'"
            )


async def bytes_of(client: httpx.AsyncClient, **asked: Any) -> bytes:
    """Walk through the feed, and give the bytes of its items as they come."""
    since, parts = "start", []
    while True:
        answer = await client.get("/v1/changes", params={"since": since, **asked})
        assert answer.status_code == 200, answer.text
        items, _, rest = answer.content.rpartition(b'],"next_cursor":')
        assert items.startswith(b'{"items":[')
        parts.append(items.removeprefix(b'{"items":['))
        since = json.loads(b'{"next_cursor":' + rest)["next_cursor"]
        if rest.endswith(b'"up_to_date":true}'):
            return b",".join(filter(None, parts))


@pytest.mark.long
async def test_each_reader_gets_the_bytes_that_the_log_means(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    await fill(empty, empty_url)
    log = await read_log(empty_url)
    assert {row["op"] for row in log.rows} == {"created", "updated", "deleted", "restored"}
    for scopes in READERS:
        client = await reader(empty, empty_url, *scopes) if scopes else asking(empty, None)
        caller = Caller("key", frozenset(scopes)) if scopes else READER
        for types in TYPES:
            asked = {} if len(types) == len(RecordType) else {"types": ",".join(types)}
            expected = b",".join(log.texts(caller, types))
            for limit in (1000, 7):
                assert await bytes_of(client, limit=limit, **asked) == expected, (scopes, types)


ADD: Final = (
    "INSERT INTO claims (id, text, review_status)"
    " SELECT gen_random_uuid(), 'It was said.', 'published' FROM generate_series(1, $1::integer)"
)


@pytest.mark.long
async def test_a_page_of_many_changes_takes_as_many_calls_as_one_of_few(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    async with owner(empty_url) as connection:
        await connection.execute(ADD, 500)
    await page(empty, limit=500)
    numbers: dict[int, list[int]] = {200: [], 500: []}  # of blocks, and of changes behind them
    for limit in 5 * [200, 500]:  # the first ones prepare their statements
        with counted_calls(of_callers=True) as calls:
            answer = await empty.get("/v1/changes", params={"limit": limit})
        assert answer.content.count(b'"seq":') == limit
        numbers[limit].append(calls[0])
    assert min(numbers[200]) > 0
    # The fewest, because a request may have to wait and to be woken once more than another.
    assert min(numbers[500]) - min(numbers[200]) < 200


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_records_are_looked_up_all_at_once(empty_url: str, mode: str) -> None:
    """Postgres looks at some blocks for each change, in whichever way it plans the statement."""
    number = 400
    async with owner(empty_url) as connection:
        await connection.execute(ADD, number)
        await connection.fetch("SELECT * FROM sequence_feed(true)")
        await connection.execute("ANALYZE")
        await connection.execute(f"SET plan_cache_mode = {mode}")
        wanted = stretches.Wanted(EVERYTHING.sight, number)
        text, *values = stretches.stretch_query(0, number, wanted, number)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"
        explained = await connection.fetchval(explain, *values)
    (plan,) = json.loads(explained)
    assert plan["Plan"]["Actual Rows"] == number
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 6 * number
    joins = {node["Node Type"]: node.get("Join Type") for node in nodes(plan["Plan"])}
    assert "Full" in {joins.get("Hash Join"), joins.get("Merge Join")}


async def test_a_change_that_is_not_told_brings_no_record(empty_url: str) -> None:
    """Neither does it count as one, though its record is there for another change."""
    hide = (
        "INSERT INTO outbox"
        " (record_type, record_id, version, op, at, visibility_before, visibility_after)"
        " SELECT 'claim', id, version, 'updated', now(), 2, 2 FROM claims"
    )
    async with owner(empty_url) as connection:
        await connection.execute(ADD, 1)
        size = await connection.fetchval("SELECT octet_length(doc) FROM claims")
        await connection.execute(hide)
        await connection.execute(ADD, 1)
        await connection.fetch("SELECT * FROM sequence_feed(true)")
        wanted = stretches.Wanted(READER.sight, 10, most_bytes=2 * size)
        rows = await connection.fetch(*stretches.stretch_query(0, 3, wanted, 10))
    assert [row["text"] is not None for row in rows] == [True, False, True]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)
