"""What the definition of each record type has to bring: embargoes by two clocks, and no circles.

`docs/adding-a-record-type.md` is tested with these, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from api.access.embargoes import lift
from api.core import clocks
from api.core.db import Database
from api.records.nouns import RESOURCES
from schemas.shapes import fields, shape
from schemas.vocabularies import RecordType
from tests.conftest import as_service, patient, serving
from tests.factories import EVERY, MERGE_PATCH, Body, Noun, create


def properties(noun: Noun) -> set[str]:
    """Name the properties that a client may write."""
    return {field.encode_name for field in fields(noun.resource.create)}


EMBARGOED = [of for of, noun in EVERY.items() if "embargoed_until" in properties(noun)]
ITSELF = [
    (noun.type, field.encode_name)
    for noun in EVERY.values()
    for field in fields(noun.resource.create)
    if (found := shape(field.type)).refers_to == noun.type and not found.many
]
"""The properties that name another record of the same type."""


# --- embargoes -------------------------------------------------------------------------------


@pytest.fixture
async def database(empty_url: str) -> AsyncIterator[Database]:
    """Connect as the service does."""
    found = Database(as_service(empty_url), patient(pool_size=1))
    await found.open()
    yield found
    await found.close()


class Hours:
    """A clock of the service that is some hours behind Postgres' clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin with the same time."""
        self.behind = 0
        monkeypatch.setattr(clocks, "utc_now", self.now)

    def now(self) -> datetime:
        """Read it."""
        return datetime.now(UTC) - timedelta(hours=self.behind)


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    """Set the clock of the service."""
    return Hours(monkeypatch)


def published(noun: Noun) -> Body:
    """Write a record that everybody may see, but for an embargo that ended twelve hours ago."""
    ended = datetime.now(UTC) - timedelta(hours=12)
    reviewed = {"review_status": "published"} if "review_status" in properties(noun) else {}
    return noun.minimal(embargoed_until=ended.isoformat(), **reviewed)


@pytest.mark.parametrize("of", EMBARGOED)
async def test_an_embargo_lasts_by_the_clock_of_the_service_too(
    empty_url: str, database: Database, hours: Hours, of: RecordType
) -> None:
    hours.behind = 24
    async with serving(empty_url) as client:
        await lift(database, RESOURCES.values())
        made = await create(client, EVERY[of], published(EVERY[of]))
        nobody = httpx.AsyncClient(transport=client._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
        assert (await nobody.get(made.path)).status_code == 404
        hours.behind = 0
        for _ in range(3):
            await lift(database, RESOURCES.values())
        assert (await nobody.get(made.path)).json()["version"] == 2


@pytest.mark.parametrize("of", EMBARGOED)
@pytest.mark.parametrize("ended", [False, True])
async def test_an_unchanged_write_makes_no_version_while_the_clocks_differ(
    empty_url: str, database: Database, hours: Hours, of: RecordType, *, ended: bool
) -> None:
    """The clock of the service falls a day behind before or after the embargo has ended."""
    hours.behind = 0 if ended else 24
    async with serving(empty_url) as client:
        await lift(database, RESOURCES.values())
        body = published(EVERY[of])
        made = await create(client, EVERY[of], body)
        hours.behind = 24
        await lift(database, RESOURCES.values())
        for again in (
            await client.patch(made.path, json={"note": None}, headers=made.match | MERGE_PATCH),
            await client.put(made.path, json=body, headers=made.match),
        ):
            assert (again.status_code, again.json()["version"]) == (200, 1)
        table = EVERY[of].resource.plural
        written = f"UPDATE {table} SET note = note RETURNING id"
        assert await database.fetch(written) == []
        nobody = httpx.AsyncClient(transport=client._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
        assert (await nobody.get(made.path)).status_code == (200 if ended else 404)


@pytest.mark.parametrize("of", EMBARGOED)
async def test_an_embargo_that_has_ended_does_not_begin_again(
    empty_url: str, of: RecordType
) -> None:
    """Postgres' clock is set back a day after a record was published."""
    async with serving(empty_url) as client:
        made = await create(client, EVERY[of], published(EVERY[of]))
        table = EVERY[of].resource.plural
        connection = await asyncpg.connect(empty_url)
        await connection.execute("SET session_replication_role = replica")
        later = "UPDATE {} SET embargoed_until = clock_timestamp() + interval '12 h' RETURNING 1"
        await connection.execute(later.format(table))
        await connection.execute("SET session_replication_role = origin")
        edited = f"UPDATE {table} SET note = 'n' RETURNING version, visibility, lifts_at"
        assert tuple(await connection.fetchrow(edited) or ()) == (2, 0, None)
        await connection.close()
        again = {"embargoed_until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
        answer = await client.patch(made.path, json=again, headers={"if-match": "*"} | MERGE_PATCH)
        assert answer.status_code == 200
        nobody = httpx.AsyncClient(transport=client._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
        assert (await nobody.get(made.path)).status_code == 404


# --- circles ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "name"), ITSELF)
async def test_no_reference_to_the_same_type_closes_a_circle(
    client: httpx.AsyncClient, of: RecordType, name: str
) -> None:
    noun = EVERY[of]
    also = {"embedding": "embedded"} if "embedding" in properties(noun) else {}
    first = before = await create(client, noun)
    for _ in range(3):
        before = await create(client, noun, noun.minimal(**{name: before.id}, **also))
    headers = first.match | MERGE_PATCH
    refused = await client.patch(first.path, json={name: before.id, **also}, headers=headers)
    assert refused.status_code == 409, refused.text
    assert refused.json()["code"] == "circular-reference"
    assert [error["pointer"] for error in refused.json()["errors"]] == [f"/{name}"]
    assert (await client.get(first.path)).json() == first.record
