"""How many SQL statements each operation costs, whatever the size of what it handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from api.app import create_app
from api.core.db import Database
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, allow, client_of, patient, running
from tests.factories import EVERY, MERGE_PATCH, TEXT, Ids, Noun, create, stored, unique
from tests.test_figures import figure
from tests.world import World

_TRANSACTION_CONTROL = {"BEGIN", "COMMIT", "ROLLBACK"}
# What asyncpg 0.32 asks once for each connection: of array types, with jit off meanwhile.
_OF_THE_DRIVER = ("typeinfo_tree", "current_setting('jit')")

# Twice a second at most, and once an hour, for each key: whatever the requests.
_OF_KEYS = ("FROM keys", "UPDATE keys")

# How a connection is tried where Postgres was quiet for a second, as on a machine that is busy.
_TRIED = "SELECT 1"


class Counted:
    """A service on one connection that notes what is run on it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.statements: list[str] = []

    def note(self, query: asyncpg.connection.LoggedQuery) -> None:
        """Note a statement of ours."""
        ours = not any(mark in query.query for mark in (*_OF_THE_DRIVER, *_OF_KEYS))
        word = query.query.rstrip(";").split()[0]
        if ours and word not in _TRANSACTION_CONTROL and query.query != _TRIED:
            self.statements.append(query.query)

    def taken(self) -> int:
        """Say how many statements there were since the last time."""
        number = len(self.statements)
        self.statements.clear()
        return number


async def _wait_for_the_logger(_: httpx.Response) -> None:
    """Let asyncpg call the logger, which it does in the next turn of the event loop."""
    await asyncio.sleep(0)


@pytest.fixture
async def counted(database_url: str) -> AsyncIterator[Counted]:
    """Serve this worker's database through one connection, and listen on it.

    The logger stays on the connection when that goes back to the pool.
    """
    database = Database(database_url, settings := patient(pool_size=1))
    await database.open()
    app = create_app(settings, database)
    await allow(database_url)
    async with client_of(app) as client:
        client.event_hooks["response"].append(_wait_for_the_logger)
        found = Counted(client)
        async with database.connection() as connection:
            connection.add_query_logger(found.note)
        yield found
    await database.close()


async def test_the_statements_are_counted(counted: Counted, noun: Noun) -> None:
    assert counted.taken() == 0
    await counted.client.get(noun.path, params={"tag": unique()})
    await counted.client.get(noun.path, params={"tag": unique()})
    assert counted.taken() == 2


async def test_get_costs_one_statement(counted: Counted, noun: Noun) -> None:
    pair = {"namespace": "count", "value": unique()}
    record = await create(counted.client, noun, noun.minimal(external_ids=[pair]))
    counted.taken()
    external = f"{noun.path}/by-external-id"
    for path, query in (
        (record.path, {}),
        (record.path, {"as_of": record.record["created_at"]}),
        (external, pair),
        (f"{record.path}/revisions", {}),
        (f"{record.path}/revisions/1", {}),
    ):
        response = await counted.client.get(path, params=query)
        assert response.status_code == 200
        assert counted.taken() == 1, path
    await counted.client.get(record.path, headers={"if-none-match": record.etag})
    assert counted.taken() == 1


async def test_a_list_costs_one_statement_and_one_for_each_relation(
    counted: Counted, noun: Noun, ids: Ids
) -> None:
    tag = unique()
    for _ in range(3):
        await create(counted.client, noun, noun.full(ids, tags=[tag]))
    counted.taken()
    names = [expansion.name for expansion in noun.resource.expansions]
    for limit in (1, 2, 200):
        asked = {"tag": tag, "limit": f"{limit}", "count": "exact", "q": "killed or ten"}
        for number in range(len(names) + 1):
            expand = {"expand": ",".join(names[:number])} if number else {}
            response = await counted.client.get(noun.path, params={**asked, **expand})
            assert len(response.json()["items"]) == min(limit, 3)
            assert counted.taken() == 1 + number


async def test_a_page_of_usual_size_costs_one_statement_with_all_that_it_brings(
    counted: Counted, noun: Noun, ids: Ids
) -> None:
    tag = unique()
    for _ in range(3):
        await create(counted.client, noun, noun.full(ids, tags=[tag]))
    counted.taken()
    expand = ",".join(expansion.name for expansion in noun.resource.expansions)
    for limit in (1, 2, 200):
        asked = {"tag": tag, "limit": f"{limit}", "q": "killed or ten", "expand": expand}
        response = await counted.client.get(noun.path, params=asked)
        assert len(response.json()["items"]) == min(limit, 3)
        assert counted.taken() == 1


async def test_a_page_that_ends_early_costs_two_statements_for_each_relation(
    counted: Counted,
) -> None:
    claim, article = EVERY[RecordType.CLAIM], EVERY[RecordType.ARTICLE]
    tag, text = unique(), "x" * 3 * 1024**2
    for _ in range(3):
        printed = await create(counted.client, article, article.minimal(text=text))
        appearances = [{"article_id": printed.id}]
        await create(counted.client, claim, claim.minimal(tags=[tag], appearances=appearances))
    counted.taken()
    response = await counted.client.get(claim.path, params={"tag": tag, "expand": "articles"})
    assert len(response.json()["items"]) == 2
    assert counted.taken() == 1 + 2


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a write hold up the next ones however slow the machine is.

    And let no key be looked up: whoever waits for that comes too late for the batch of the others.
    """
    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", PATIENCE)
    monkeypatch.setattr("api.access.authentication.FRESH_SECONDS", 10 * PATIENCE)


@pytest.mark.usefixtures("unhurried")
async def test_creates_at_once_share_their_statements(counted: Counted, noun: Noun) -> None:
    answers = await asyncio.gather(
        *(counted.client.post(noun.path, json=noun.minimal()) for _ in range(32))
    )
    assert {answer.status_code for answer in answers} == {201}
    # Two for the first, which came alone, and two for a batch of the others.
    assert counted.taken() <= 4


@pytest.mark.usefixtures("unhurried")
async def test_changes_at_once_share_their_statements(counted: Counted, noun: Noun) -> None:
    made = [await create(counted.client, noun) for _ in range(9)]
    counted.taken()
    headers = {**MERGE_PATCH, "if-match": "*"}
    answers = await asyncio.gather(
        *(counted.client.patch(each.path, json={"note": "n"}, headers=headers) for each in made)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert counted.taken() <= (2 * 9 if noun.resource.large else 4)
    answers = await asyncio.gather(
        *(counted.client.delete(each.path, headers={"if-match": "*"}) for each in made)
    )
    assert {answer.status_code for answer in answers} == {204}
    assert counted.taken() <= (9 if noun.resource.large else 3)


async def test_create_costs_at_most_two_statements(counted: Counted, noun: Noun, ids: Ids) -> None:
    await create(counted.client, noun)
    assert counted.taken() <= 2
    await create(counted.client, noun, noun.full(ids))
    assert counted.taken() <= 2


async def test_with_an_idempotency_key_a_create_costs_three_statements_more(
    counted: Counted, noun: Noun, ids: Ids
) -> None:
    """A lock, a look, the answer; and a savepoint, so that it can go on after a conflict."""
    headers, body = {"idempotency-key": unique()}, noun.full(ids)
    await create(counted.client, noun, noun.full(ids))
    without = counted.taken()
    await counted.client.post(noun.path, json=body, headers=headers)
    savepoint = [s for s in counted.statements if "SAVEPOINT" in s]
    assert len(savepoint) == 2
    assert counted.taken() == without + 3 + len(savepoint)
    await counted.client.post(noun.path, json=body, headers=headers)
    assert counted.taken() == 2


async def test_a_replacement_and_a_patch_cost_at_most_two_statements(
    counted: Counted, noun: Noun, ids: Ids
) -> None:
    """One that may hide other records, which follow it, asks Postgres for more time first."""
    most = 2 if noun.resource.consequence is None else 3
    record = await create(counted.client, noun, noun.referred())
    counted.taken()
    for number in range(3):
        body = noun.full(ids, note=f"{number}")
        response = await counted.client.put(record.path, json=body, headers=record.match)
        assert response.json()["version"] == 2 + 2 * number
        assert counted.taken() <= most
        record = stored(noun, response)
        headers = {**MERGE_PATCH, **record.match}
        patch = {**noun.full(ids), "note": "patched"}
        response = await counted.client.patch(record.path, json=patch, headers=headers)
        assert response.json()["version"] == 3 + 2 * number
        assert counted.taken() <= 2
        record = stored(noun, response)
    path = f"{noun.path}/by-external-id?namespace=count&value={unique()}"
    for status in (201, 200):
        response = await counted.client.put(path, json=noun.full(ids, external_ids=[]))
        assert response.status_code == status
        assert counted.taken() <= 2


async def test_a_new_text_costs_three_more_statements_for_each_type_printed_in_it(
    counted: Counted, ids: Ids
) -> None:
    """What is printed in an article follows its text, however much that is."""
    article = EVERY[RecordType.ARTICLE]
    record = await create(counted.client, article, article.referred())
    own = {**ids, RecordType.ARTICLE: record.id}
    for _ in range(3):
        for type_ in (RecordType.CLAIM, RecordType.DENIAL):
            await create(counted.client, EVERY[type_], EVERY[type_].full(own))
    counted.taken()
    for number, text in enumerate(("New: " + TEXT, "nothing of it", None), start=2):
        headers = {**MERGE_PATCH, "if-match": "*"}
        response = await counted.client.patch(record.path, json={"text": text}, headers=headers)
        assert response.json()["version"] == number
        assert counted.taken() <= 2 + 1 + 3 * 2


async def test_a_write_that_changes_nothing_costs_one_statement(
    counted: Counted, noun: Noun, ids: Ids
) -> None:
    record = await create(counted.client, noun, noun.full(ids))
    counted.taken()
    response = await counted.client.put(record.path, json=record.record, headers=record.match)
    assert response.json() == record.record
    assert counted.taken() == 1


async def test_delete_and_restore_cost_one_statement(
    counted: Counted, noun: Noun, ids: Ids
) -> None:
    record = await create(counted.client, noun, noun.full(ids))
    counted.taken()
    response = await counted.client.delete(record.path, headers=record.match)
    assert response.status_code == 204
    assert counted.taken() == 1
    headers = {"if-match": response.headers["etag"]}
    response = await counted.client.post(f"{record.path}/restore", headers=headers)
    assert response.status_code == 200
    assert counted.taken() == 1


async def test_what_is_refused_unread_costs_nothing(counted: Counted, noun: Noun) -> None:
    for body in (b"{", b'{"nothing":1}', b"[]"):
        response = await counted.client.post(
            noun.path, content=body, headers={"content-type": "application/json"}
        )
        assert response.is_client_error
    await counted.client.get(f"{noun.path}/odd")
    await counted.client.get(f"{noun.path}?nothing=1")
    assert counted.taken() == 0


async def test_a_page_of_changes_costs_one_statement_on_the_pool(empty_url: str) -> None:
    """Numbering has a connection of its own; that it goes on, is looked at now and then."""
    settings = patient(pool_size=1, feed_stall_seconds=86_400)  # not in this test
    app = create_app(settings, database := Database(empty_url, settings))
    await allow(empty_url)
    async with running(app), client_of(app) as client:
        counted = Counted(client)
        for _ in range(3):
            await create(client, EVERY[RecordType.CLAIM])
        async with database.connection() as connection:
            connection.add_query_logger(counted.note)
        since = "start"
        for limit in (1, 2, 500):
            counted.taken()
            asked: dict[str, str | int] = {"since": since, "limit": limit}
            page = (await client.get("/v1/changes", params=asked)).json()
            assert page["items"]
            # Webhooks look meanwhile at which feed this is, on the same connection.
            assert len([s for s in counted.statements if "feed AS f" in s]) == 1
            await create(client, EVERY[RecordType.CLAIM])
            since = page["next_cursor"]


async def _printed(counted: Counted, number: int) -> tuple[str, list[dict[str, Any]]]:
    """Make an article, and claims that are printed in it; give its path, and what attaches them."""
    article = await create(counted.client, EVERY[RecordType.ARTICLE], {"text": TEXT})
    noun = EVERY[RecordType.CLAIM]
    appearances = [{"article_id": article.id, "spans": [{"start": 0, "end": 5, "exact": TEXT[:5]}]}]
    claims = [
        await create(counted.client, noun, noun.minimal(appearances=appearances))
        for _ in range(number)
    ]
    spans = [{"start": 5, "end": 10, "exact": TEXT[5:10]}]
    items = [
        {"record": {"type": "claim", "id": each.id}, "appearance": 0, "spans": spans}
        for each in claims
    ]
    return f"/v1/articles/{article.id}", items


@pytest.mark.parametrize("number", [1, 7])
async def test_attaching_any_number_of_appearances_costs_five_statements(
    counted: Counted, number: int
) -> None:
    path, items = await _printed(counted, number)
    await asyncio.sleep(0)  # the last statement is noted now
    counted.taken()
    answer = await counted.client.post(f"{path}/anchors", json=items)
    assert answer.json()["attached"] == number
    assert counted.taken() == 5


@pytest.mark.parametrize("number", [1, 7])
async def test_a_page_of_lost_appearances_costs_three_statements(
    counted: Counted, number: int
) -> None:
    """The text, the appearances, and the earlier text in which they stood."""
    path, _ = await _printed(counted, number)
    headers = {**MERGE_PATCH, "if-match": "*"}
    await counted.client.patch(path, json={"text": "Others."}, headers=headers)
    await asyncio.sleep(0)
    counted.taken()
    answer = await counted.client.get(f"{path}/anchors")
    assert len(answer.json()["items"]) == number
    assert counted.taken() == 3


async def _discussed(world: World, number: int) -> None:
    """Make claims that restate each other, printed and denied, with figures that conflict."""
    await world.add("sources", "one")
    statement = {"attributions": [{"source_id": "@one"}]}
    place = {"role": "event", "name": world.tag}
    relation = {"kind": "restates", "basis": "editor", "state": "confirmed"}
    for at in range(number):
        await world.add("articles", f"a{at}", publisher_id="@one")
        await world.add(
            "claims",
            f"c{at}",
            **statement,
            appearances=[{"article_id": f"@a{at}"}],
            quantities=[figure(value=at, as_of="2024-12-17")],
            places=[place],
            relations=[relation | {"claim_id": f"@c{at - 1}"}] if at else [],
        )
        await world.add(
            "denials",
            f"d{at}",
            **statement,
            quantities=[figure(value=99, as_of="2024-12-17")],
            targets=[{"claim_id": f"@c{at}"}, *([{"denial_id": f"@d{at - 1}"}] if at else [])],
        )


_EVERYTHING = "expand=sources,articles,claims,denials"
_GROUPED = "by=kind&by=claimant_id&by=article_id&by=response_family&by=stated:year"


@pytest.mark.parametrize("number", [1, 7])
async def test_a_question_costs_as_many_statements_whatever_it_finds(
    counted: Counted, number: int
) -> None:
    await _discussed(world := World(counted.client), number)
    claim, denial, tag = world.at("c0"), world.at("d0"), f"tag={world.tag}"
    for path, name, found, statements in (
        (f"/v1/claims/groups?{_GROUPED}&{tag}", "total", number, 1),
        (f"/v1/denials/groups?by=kind&by=responder_id&{tag}", "total", number, 1),
        (f"/v1/figures?limit=200&{tag}", "items", 2 * number, 8),
        (f"/v1/figures?limit=200&{tag}&{_EVERYTHING}", "items", 2 * number, 8 + 4),
        (f"{claim}/origins", "claims", number, 5),
        (f"/v1/origins?{tag}", "claims", number, 5),
        (f"/v1/origins?rollup=parent&{tag}", "claims", number, 5),
        (f"{claim}/responses", "thread", number, 2),
        (f"{claim}/responses?{_EVERYTHING}", "thread", number, 2 + 4),
        (f"{denial}/responses", "thread", number - 1, 2),
    ):
        await asyncio.sleep(0)  # the last statement is noted now
        counted.taken()
        answer = (await counted.client.get(path)).json()
        assert (answer[name] if name == "total" else len(answer[name])) == found, path
        assert counted.taken() == statements, path


async def test_origins_of_what_nobody_said_and_nothing_prints_cost_three_statements(
    counted: Counted,
) -> None:
    await (world := World(counted.client)).add("claims", "c")
    for path in (f"{world.at('c')}/origins", f"/v1/origins?tag={world.tag}"):
        await asyncio.sleep(0)
        counted.taken()
        assert len((await counted.client.get(path)).json()["claims"]) == 1
        assert counted.taken() == 3
