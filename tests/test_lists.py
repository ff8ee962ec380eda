"""Lists: what every one of them can be asked, and that paging misses and repeats nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.core import db
from api.core.caller import EVERYTHING
from api.core.expanding import Item, bring
from api.core.resource import MAX_LIMIT
from api.records.claims import CLAIMS
from schemas.vocabularies import RecordType
from tests.conftest import cloned, serving, swept
from tests.factories import (
    EVERY,
    MERGE_PATCH,
    Body,
    Client,
    Connection,
    Ids,
    Noun,
    Stored,
    create,
    delete,
    prerequisites,
    stored,
    unique,
)

CLAIM, SOURCE = EVERY[RecordType.CLAIM], EVERY[RecordType.SOURCE]
SEARCHED = {
    noun.type: re.findall("`([a-z]+)`", noun.resource.searched)[0] for noun in EVERY.values()
}
"""A field of each noun that `q` looks into."""


async def page(client: Client, noun: Noun, **asked: Any) -> Body:
    """Read one page of a list."""
    response = await client.get(noun.path, params=asked)
    assert response.status_code == 200, response.text
    found: Body = response.json()
    return found


async def listed(client: Client, noun: Noun, **asked: Any) -> list[str]:
    """List the ids on one page."""
    return [item["id"] for item in (await page(client, noun, **asked))["items"]]


async def refused(client: Client, noun: Noun, parameter: str, code: str, **asked: Any) -> None:
    """Hold a list to refusing one of its parameters."""
    response = await client.get(noun.path, params=asked)
    assert (response.status_code, response.json()["code"]) == (400, code), response.text
    assert [error["parameter"] for error in response.json()["errors"]] == [parameter]


async def several(client: Client, noun: Noun, number: int, **more: Any) -> list[Stored]:
    """Create some minimal records."""
    return [await create(client, noun, noun.minimal(**more)) for _ in range(number)]


async def followed(client: Client, path: str) -> list[list[str]]:
    """Follow the Link headers from a page to the end; gives the ids of each page."""
    pages = []
    while path:
        response = await client.get(path)
        assert response.status_code == 200, response.text
        pages.append([item["id"] for item in response.json()["items"]])
        path = response.links.get("next", {}).get("url", "")
        assert bool(path) == (response.json()["next_cursor"] is not None)
    return pages


# --- pages -----------------------------------------------------------------------------------


async def test_links_lead_through_the_whole_list(client: Client, noun: Noun) -> None:
    tag = f"a&b=c#d é+ {unique()}"
    records = await several(client, noun, 5, tags=[tag])
    expected = [record.id for record in reversed(records)]
    query = httpx.QueryParams({"tag": tag, "limit": "2"})
    pages = await followed(client, f"{noun.path}?{query}")
    assert pages == [expected[:2], expected[2:4], expected[4:]]
    query = httpx.QueryParams({"limit": "5", "tag": tag, "sort": "created_at"})
    assert await followed(client, f"{noun.path}?{query}") == [expected[::-1]]


async def test_the_limit_is_bounded(client: Client, noun: Noun) -> None:
    for limit in (0, -1, MAX_LIMIT + 1, 10**18, "x", "1.0", "1_0", " 1", "+1", "01", "\u0661", ""):
        await refused(client, noun, "limit", "invalid-parameter", limit=limit)
    await page(client, noun, limit=1)
    await page(client, noun, limit=MAX_LIMIT)


async def test_a_page_has_50_records_unless_told(client: Client, noun: Noun) -> None:
    tag = unique()
    await several(client, noun, 51, tags=[tag])
    first = await page(client, noun, tag=tag)
    assert len(first["items"]) == 50
    assert len((await page(client, noun, tag=tag, cursor=first["next_cursor"]))["items"]) == 1


async def test_a_cursor_keeps_to_its_filters_and_its_sort(
    client: Client, noun: Noun, ids: Ids
) -> None:
    tag = unique()
    await several(client, noun, 3, tags=[tag])
    cursor = (await page(client, noun, tag=tag, limit=1))["next_cursor"]
    for other in ({}, {"tag": "other"}, {"tag": tag, "q": "x"}, {"tag": tag, "sort": "created_at"}):
        await refused(client, noun, "cursor", "cursor-mismatch", cursor=cursor, **other)
    again = {"tag": tag, "cursor": cursor}
    for free in ({}, {"limit": 2}, {"count": "exact"}, {"expand": "sources"}):
        assert len(await listed(client, noun, **again, **free)) == 2
    assert ids


async def test_the_default_sort_may_be_said(client: Client, noun: Noun) -> None:
    tag = unique()
    records = await several(client, noun, 3, tags=[tag])
    expected = [record.id for record in reversed(records)]
    assert await listed(client, noun, tag=tag, sort="-created_at") == expected


async def test_a_list_is_sorted_by_its_keys_only(client: Client, noun: Noun) -> None:
    for sort in ("id", "version", "created_at desc", "+created_at", "--created_at", "note", ""):
        await refused(client, noun, "sort", "invalid-parameter", sort=sort)
    await refused(client, noun, "sort", "invalid-parameter", sort="relevance")


async def test_a_page_can_follow_the_longest_name(client: Client) -> None:
    """A cursor holds the value that the list is sorted by, however it is written."""
    for letter in ("x", "😀", "\x01", '"'):
        tag = unique()
        for number in range(3):
            body = SOURCE.minimal(name=letter * 499 + str(number), tags=[tag])
            await create(client, SOURCE, body)
        pages = await followed(client, f"{SOURCE.path}?tag={tag}&sort=name&limit=1")
        assert [len(found) for found in pages] == [1, 1, 1]


async def test_deleted_records_are_in_no_list(client: Client, noun: Noun) -> None:
    tag = unique()
    first, second, third = await several(client, noun, 3, tags=[tag])
    await delete(client, second)
    assert await listed(client, noun, tag=tag) == [third.id, first.id]
    assert (await page(client, noun, tag=tag, count="exact"))["total"] == 2
    every = [first.id, second.id, third.id]
    assert await listed(client, noun, id__in=every) == [third.id, first.id]


# --- counting --------------------------------------------------------------------------------


async def test_a_count_is_given_when_asked_for(client: Client, noun: Noun) -> None:
    tag = unique()
    await several(client, noun, 3, tags=[tag])
    assert (await page(client, noun, tag=tag))["total"] is None
    counted = await page(client, noun, tag=tag, count="exact", limit=2)
    assert (counted["total"], counted["total_is_lower_bound"]) == (3, False)
    asked = {"tag": tag, "count": "exact", "limit": 2, "cursor": counted["next_cursor"]}
    assert (await page(client, noun, **asked))["total"] == 3
    nothing = await page(client, noun, tag=unique(), count="exact")
    assert (nothing["total"], nothing["items"]) == (0, [])
    for count in ("", "true", "estimated", "exact "):
        await refused(client, noun, "count", "invalid-parameter", count=count)


@pytest.mark.long
async def test_a_count_ends_at_its_cap(empty: Client, empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute(
            "INSERT INTO sources (id, kind, identification, name)"
            " SELECT gen_random_uuid(), 'person', 'named', 'n' FROM generate_series(1, 10001)"
        )
    finally:
        await connection.close()
    counted = await page(empty, SOURCE, count="exact", limit=1)
    assert (counted["total"], counted["total_is_lower_bound"]) == (10_000, True)


# --- the filters of every list ---------------------------------------------------------------


async def test_id_in_gives_those_records(client: Client, noun: Noun, ids: Ids) -> None:
    first, second, _ = await several(client, noun, 3)
    others = [identity for type_, identity in ids.items() if type_ != noun.type]
    asked = [first.id, second.id, first.id, *others]
    assert await listed(client, noun, id__in=asked) == [second.id, first.id]
    for odd in ("", "x", first.id.upper(), f"{first.id},{second.id}"):
        await refused(client, noun, "id__in", "invalid-parameter", id__in=odd)


async def test_a_tag_is_the_whole_tag(client: Client, noun: Noun) -> None:
    tag = unique()
    record, _ = [
        await create(client, noun, noun.minimal(tags=tags))
        for tags in (["x", f"{tag} two"], [tag.upper(), f"{tag} two more"])
    ]
    assert await listed(client, noun, tag=f"{tag} two") == [record.id]
    for other in (tag, f"{tag}%", f"{tag} tw_", f"{{{tag} two}}"):
        assert await listed(client, noun, tag=other) == []


async def test_external_ids_are_found_by_namespace_and_value(client: Client, noun: Noun) -> None:
    namespace = f"space {unique()}"
    first, second = [
        await create(
            client, noun, noun.minimal(external_ids=[{"namespace": namespace, "value": value}])
        )
        for value in ("1", "2")
    ]
    assert await listed(client, noun, external_namespace=namespace) == [second.id, first.id]
    found = await listed(client, noun, external_namespace=namespace, external_value="1")
    assert found == [first.id]
    assert await listed(client, noun, external_namespace=namespace, external_value="%") == []
    await refused(client, noun, "external_value", "invalid-parameter", external_value="1")


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
async def test_times_bound_a_list(client: Client, noun: Noun, name: str) -> None:
    tag = unique()
    records = await several(client, noun, 3, tags=[tag])
    for record in records[::-1]:  # now their last changes lie the other way round
        headers = {**MERGE_PATCH, **record.match}
        response = await client.patch(record.path, json={"note": "x"}, headers=headers)
        record.record.update(stored(noun, response).record)
    times = sorted(record.record[name] for record in records)
    middle = times[1]
    for op, expected in (
        ("gt", times[2:]),
        ("gte", times[1:]),
        ("lt", times[:1]),
        ("lte", times[:2]),
    ):
        found = await page(client, noun, tag=tag, sort=name, **{f"{name}__{op}": middle})
        assert [item[name] for item in found["items"]] == expected
    offset = dt.datetime.fromisoformat(middle).astimezone(dt.timezone(dt.timedelta(hours=9)))
    found = await page(client, noun, tag=tag, **{f"{name}__lt": offset.isoformat()})
    assert [item[name] for item in found["items"]] == times[:1]
    assert await listed(client, noun, tag=tag, **{f"{name}__gt": "2100-01-01"}) == []


async def test_a_date_counts_as_its_day_in_utc(client: Client, noun: Noun) -> None:
    tag = unique()
    record = await create(client, noun, noun.minimal(tags=[tag]))
    day = dt.date.fromisoformat(record.record["created_at"][:10])
    before, after = day - dt.timedelta(days=1), day + dt.timedelta(days=1)
    for found, op, bound in (
        (True, "gte", day),
        (True, "lte", day),
        (False, "gt", day),
        (False, "lt", day),
        (True, "gt", before),
        (True, "lt", after),
        (False, "lte", before),
        (False, "gte", after),
    ):
        ids = await listed(client, noun, tag=tag, **{f"created_at__{op}": bound.isoformat()})
        assert bool(ids) == found, (op, bound)


@pytest.mark.parametrize("bound", ["now", "2024", "2024-02-30", "2024-01-01T00:00:00", ""])
async def test_a_bound_is_a_date_or_an_instant(client: Client, noun: Noun, bound: str) -> None:
    for name in ("created_at__gte", "updated_at__lt"):
        await refused(client, noun, name, "invalid-parameter", **{name: bound})


@pytest.mark.parametrize("noun", [noun for noun in EVERY.values() if noun.type != "source"])
async def test_a_language_is_found_with_its_regions_in_any_case(client: Client, noun: Noun) -> None:
    tag = unique()
    languages = ("en", "en-GB", "EN-us", "eng", "und", "zh-Hant-TW")
    records = [
        await create(client, noun, noun.minimal(tags=[tag], language=language))
        for language in languages
    ]
    for asked, expected in (
        ("en", {"en", "en-GB", "EN-us"}),
        ("EN", {"en", "en-GB", "EN-us"}),
        ("en-gb", {"en-GB"}),
        ("en-g", set()),
        ("e", set()),
        ("und", {"und"}),
        ("ZH-hant", {"zh-Hant-TW"}),
        ("zh-TW", set()),
    ):
        found = await listed(client, noun, tag=tag, language=asked)
        assert {each.record["language"] for each in records if each.id in found} == expected, asked
    assert [each.record["language"] for each in records] == list(languages)


# --- search ----------------------------------------------------------------------------------


async def texts(client: Client, noun: Noun, *words: str) -> tuple[str, list[Stored]]:
    """Create records of some texts; gives the tag that they have in common."""
    tag, field = unique(), SEARCHED[noun.type]
    records = [
        await create(client, noun, noun.minimal(tags=[tag], **{field: text})) for text in words
    ]
    return tag, records


async def test_a_search_ignores_accents_and_case(client: Client, noun: Noun) -> None:
    tag, (accented, plain, _) = await texts(client, noun, "Zoë ÉCOLE", "zoe ecole", "other")
    for words in ("ecole", "École", "ZOE", "zoë école"):
        assert await listed(client, noun, tag=tag, q=words) == [plain.id, accented.id]


async def test_a_search_takes_phrases_alternatives_and_exclusions(
    client: Client, noun: Noun
) -> None:
    tag, (first, second) = await texts(client, noun, "red green blue", "green red")
    assert await listed(client, noun, tag=tag, q="red green") == [second.id, first.id]
    assert await listed(client, noun, tag=tag, q='"red green"') == [first.id]
    assert await listed(client, noun, tag=tag, q="red -blue") == [second.id]
    assert await listed(client, noun, tag=tag, q="blue or yellow") == [first.id]


@pytest.mark.parametrize(
    "words",
    swept(
        [
            "gre%",
            "gr_en",
            "gre*x",
            "gre:*",
            "gr.*n",
            "'",
            '"',
            '"unfinished',
            "\\",
            "green'; --",
            "green & !green",
            "(green",
            "green)",
            "green <-> red | !(",
            "or",
            "-",
            "- or -",
            '""',
            "   ",
            ":",
            "😀",
            "the",
            "x" * 500,
            "(" * 500,
            "-" * 500,
            "- ( " * 100,
            "-!(&" * 100,
            '-"" ' * 100,
            "green " + "or -" * 100,
        ],
        tried=("gre%", "gre:*", "green'; --", "green & !green", "or", "the"),
    ),
)
async def test_operators_and_wildcards_are_plain_text(
    client: Client, noun: Noun, words: str
) -> None:
    tag, _ = await texts(client, noun, "green")
    found = await page(client, noun, tag=tag, q=words)
    assert len(found["items"]) <= 1
    if words.startswith("gr") and "green" not in words:
        assert found["items"] == []
    await page(client, noun, q=words, sort="relevance")


async def test_the_best_match_comes_first(client: Client, noun: Noun) -> None:
    word = f"w{unique()}"
    tag, (best, rest) = await texts(client, noun, f"{word} {word} {word}", f"a b c d {word}")
    assert await listed(client, noun, tag=tag, q=word, sort="relevance") == [best.id, rest.id]
    path = f"{noun.path}?tag={tag}&q={word}&sort=relevance&limit=1"
    assert await followed(client, path) == [[best.id], [rest.id]]


async def test_no_match_counts_as_none_when_the_best_would_come_first(
    client: Client, noun: Noun
) -> None:
    found = await page(client, noun, q=f"w{unique()}", sort="relevance", count="exact")
    assert (found["items"], found["total"]) == ([], 0)


# --- what comes along ------------------------------------------------------------------------


async def test_what_a_page_refers_to_comes_along(client: Client, noun: Noun) -> None:
    ids = await prerequisites(client)
    record = await create(client, noun, noun.full(ids))
    names = [expansion.name for expansion in noun.resource.expansions]
    assert names
    found = await page(client, noun, id__in=record.id, expand=",".join(names))
    assert set(found["included"]) == set(names)
    assert found["items"] == [record.record]
    for expansion in noun.resource.expansions:
        if f"{expansion.target}_id" not in expansion.pairs.partition("FROM")[0]:
            continue  # those that refer to it: the nouns' own tests have them
        (included,) = found["included"][expansion.name].items()
        target = EVERY[expansion.target]
        got = await client.get(f"{target.path}/{ids[expansion.target]}")
        assert included == (ids[expansion.target], got.json())


async def test_what_refers_to_a_page_comes_along(client: Client) -> None:
    ids = await prerequisites(client)
    denial = EVERY[RecordType.DENIAL]
    answers = [await create(client, denial, denial.full(ids)) for _ in range(2)]
    found = await page(client, CLAIM, id__in=ids[RecordType.CLAIM], expand="denials")
    assert found["included"] == {"denials": {each.id: each.record for each in answers}}
    await delete(client, answers[0])
    found = await page(client, CLAIM, id__in=ids[RecordType.CLAIM], expand="denials")
    assert found["included"] == {"denials": {answers[1].id: answers[1].record}}


async def test_claims_that_relate_to_a_claim_come_along(client: Client) -> None:
    ids = await prerequisites(client)
    about = await create(client, CLAIM)
    relation = {"claim_id": about.id, "kind": "conflicts_with", "state": "confirmed"}
    relating = await create(client, CLAIM, CLAIM.full(ids, relations=[relation]))
    part = await create(client, CLAIM, CLAIM.minimal(parent_claim_id=about.id))
    asked = {"id__in": about.id, "expand": "relating_claims"}
    found = await page(client, CLAIM, **asked)
    expected = {each.id: each.record for each in (relating, part)}
    assert found["included"] == {"relating_claims": expected}
    await delete(client, relating)
    found = await page(client, CLAIM, **asked)
    assert found["included"] == {"relating_claims": {part.id: part.record}}


async def test_groups_of_the_sources_of_a_page_come_along_but_not_those_of_others(
    client: Client,
) -> None:
    async def group(*members: str) -> Stored:
        its = [{"source_id": each} for each in members]
        return await create(client, SOURCE, SOURCE.minimal(members=its))

    about, colleague = [await create(client, SOURCE) for _ in range(2)]
    both = await group(about.id, colleague.id)
    around = await group(both.id)
    await group(colleague.id)
    for names in ("sources,groups", "groups,sources"):
        found = await page(client, SOURCE, id__in=about.id, expand=names)
        assert found["included"] == {"sources": {}, "groups": {both.id: both.record}}
        found = await page(client, SOURCE, id__in=both.id, expand=names)
        members = {each.id: each.record for each in (about, colleague)}
        assert found["included"] == {"sources": members, "groups": {around.id: around.record}}
    for gone in (around, both):
        await delete(client, gone)
    found = await page(client, SOURCE, id__in=about.id, expand="groups")
    assert found["included"] == {"groups": {}}


async def test_nothing_comes_along_with_nothing(client: Client, noun: Noun) -> None:
    found = await page(client, noun, tag=unique(), expand="sources")
    assert found["included"] == {"sources": {}}
    for names in (
        "",
        "source",
        "sources,",
        "sources,sources",
        "sources,,articles",
        "Sources",
        "sources articles",
    ):
        await refused(client, noun, "expand", "invalid-parameter", expand=names)


async def test_names_that_take_commas_may_repeat_their_key(client: Client) -> None:
    by_commas = await client.get("/v1/claims?limit=1&expand=sources,denials")
    repeated = await client.get("/v1/claims?limit=1&expand=sources&expand=denials")
    assert (by_commas.status_code, repeated.json()) == (200, by_commas.json())
    by_commas = await client.get("/v1/changes?limit=5&types=source,claim")
    repeated = await client.get("/v1/changes?limit=5&types=source&types=claim")
    assert (by_commas.status_code, repeated.json()) == (200, by_commas.json())
    assert (await client.get("/v1/claims?expand=sources&expand=sources")).status_code == 400


# --- paging against a model ------------------------------------------------------------------


class Key(NamedTuple):
    """A sort key of a list, and how the tests give it values."""

    noun: Noun
    sort: str
    column: str
    values: Sequence[Any]

    def __repr__(self) -> str:
        return f"{self.noun.type} {self.sort}"


_DAYS = [dt.datetime(2024, 1, day, 12, tzinfo=dt.UTC) for day in (1, 2, 3)]
_TIMES = [None, *({"earliest": f"2024-01-0{day}"} for day in (1, 2, 3))]
_COLUMNS: dict[str, tuple[str, Sequence[Any]]] = {
    "created_at": ("created_at", _DAYS),
    "updated_at": ("updated_at", _DAYS),
    "stated": ("stated", _TIMES),
    "published": ("published", _TIMES),
    "name": ("name", [None, "a", "ab", "b"]),
}
KEYS = [
    Key(noun, sort, *_COLUMNS[sort.removeprefix("-")])
    for noun in EVERY.values()
    for sort in noun.resource.all_sorts
    if sort.removeprefix("-") in _COLUMNS  # the others need other parameters
]


class Row(NamedTuple):
    """A record of the model: the numbers of its id and of its sort value."""

    id: int
    value: int


class Turn(NamedTuple):
    """What happens before the next page: rows come, and some of those that are there go."""

    come: list[Row]
    go: list[int]


def rows(most: int) -> st.SearchStrategy[list[Row]]:
    """Draw records, many with the same value."""
    return st.lists(
        st.builds(Row, st.integers(0, 40), st.integers(0, 3)),
        max_size=most,
        unique_by=lambda row: row.id,
    )


TURNS = st.lists(st.builds(Turn, rows(3), st.lists(st.integers(0, 30), max_size=3)), max_size=6)


class Table:
    """A list in the database whose rows and sort values a test decides."""

    def __init__(self, client: Client, connection: Connection, key: Key) -> None:
        self.client = client
        self.key = key
        self.tag = unique()
        self.there: dict[UUID, int] = {}
        self._first = uuid4().int >> 32 << 32  # ids are in the order of their numbers
        self._connection = connection
        self._name = key.noun.resource.plural

    def _id(self, row: Row) -> UUID:
        return UUID(int=self._first + row.id)

    def _value(self, row: Row) -> Any:
        return self.key.values[row.value % len(self.key.values)]

    async def come(self, arriving: Sequence[Row]) -> None:
        """Create records, as their ids and sort values say."""
        new = [row for row in arriving if self._id(row) not in self.there]
        for row in new:
            path = f"{self.key.noun.path}/{self._id(row)}"
            body = self.key.noun.minimal(tags=[self.tag])
            if self.key.column not in {"created_at", "updated_at"}:
                body |= {"description": "x"} if self.key.column == "name" else {}
                body |= {self.key.column: self._value(row)}
            response = await self.client.put(path, json=body, headers={"if-none-match": "*"})
            if response.status_code == 410:  # drawn again after its deletion
                continue
            assert response.status_code == 201, response.text
            self.there[self._id(row)] = row.value % len(self.key.values)
        if self.key.column in {"created_at", "updated_at"}:
            await self._set_times([row for row in new if self._id(row) in self.there])

    async def _set_times(self, new: Sequence[Row]) -> None:
        """Give records times that they share, which no client can; the triggers look away."""
        async with self._connection.transaction():
            await self._connection.execute("SET LOCAL session_replication_role = replica")
            await self._connection.executemany(
                f"UPDATE {self._name} SET {self.key.column} = $2 WHERE id = $1",
                [(self._id(row), self._value(row)) for row in new],
            )

    async def go(self, place: int) -> None:
        """Delete one of the records that are there."""
        if self.there:
            leaving = sorted(self.there)[place % len(self.there)]
            path = f"{self.key.noun.path}/{leaving}"
            response = await self.client.delete(path, headers={"if-match": "*"})
            assert response.status_code == 204, response.text
            del self.there[leaving]

    def in_order(self) -> list[UUID]:
        """Sort as the list promises: by the value, nulls last, then by id."""
        down = self.key.sort.startswith("-")
        null = [
            identity for identity, value in self.there.items() if self.key.values[value] is None
        ]
        known = self.there.keys() - set(null)
        return [
            *sorted(known, key=lambda identity: (self.there[identity], identity), reverse=down),
            *sorted(null, reverse=down),
        ]


async def walk(table: Table, limit: int, turns: Sequence[Turn]) -> None:
    """Read a list page by page while it changes, and hold what was read to the model."""
    staying = set(table.there)
    met: list[UUID] = []
    ahead = iter(turns)
    asked: dict[str, Any] = {"tag": table.tag, "sort": table.key.sort, "limit": limit}
    while True:
        response = await page(table.client, table.key.noun, **asked)
        met += [UUID(item["id"]) for item in response["items"]]
        if response["next_cursor"] is None:
            break
        assert len(response["items"]) == limit
        asked["cursor"] = response["next_cursor"]
        if turn := next(ahead, None):
            await table.come(turn.come)
            for place in turn.go:
                await table.go(place)
            staying &= set(table.there)
    assert len(met) == len(set(met)), "a record came twice"
    assert [each for each in met if each in staying] == [
        each for each in table.in_order() if each in staying
    ]


@pytest.fixture(scope="module")
async def paging(template: str) -> AsyncIterator[tuple[Client, Connection]]:
    """Serve a database of this module's own, and look behind it."""
    async with cloned(template) as url, serving(url) as client:
        connection = await asyncpg.connect(url)
        try:
            yield client, connection
        finally:
            await connection.close()


@pytest.mark.long
@pytest.mark.parametrize("key", swept(KEYS, tried=KEYS[::8]), ids=repr)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(first=rows(14), limit=st.integers(1, 5), turns=TURNS)
async def test_paging_misses_and_repeats_nothing_that_stays(
    paging: tuple[Client, Connection],
    key: Key,
    first: list[Row],
    limit: int,
    turns: list[Turn],
) -> None:
    table = Table(*paging, key)
    await table.come(first)
    await walk(table, limit, turns)
    await walk(table, limit, [])


async def test_all_that_is_wrong_with_the_parameters_is_told_at_once(client: Client) -> None:
    query = "nothing=1&limit=0&limit=5&kind=gossip&tag=&else=1&updated_at__gte=2024-02-30&q=%ff"
    response = await client.get(f"{CLAIM.path}?{query}")
    assert response.status_code == 400
    told = response.json()
    assert told["code"] == "unknown-parameter"
    assert [(error["parameter"], error["code"]) for error in told["errors"]] == [
        ("nothing", "unknown-parameter"),
        ("limit", "invalid-parameter"),
        ("kind", "invalid-parameter"),
        ("tag", "invalid-parameter"),
        ("else", "unknown-parameter"),
        ("updated_at__gte", "invalid-parameter"),
        ("q", "invalid-parameter"),
    ]
    response = await client.get(f"{CLAIM.path}?quantity_from=5&quantity_to=4&external_value=x")
    told = response.json()["errors"]
    assert [error["parameter"] for error in told] == [
        "quantity_from",
        "quantity_to",
        "external_value",
    ]


async def test_many_unknown_parameters_make_no_long_answer(client: Client) -> None:
    response = await client.get(f"{CLAIM.path}?{'&'.join(['x'] * 4_000)}")
    assert (response.status_code, len(response.content) < 16_384) == (400, True)


async def test_a_statement_of_a_list_is_put_together_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, noun: Noun
) -> None:
    asked = {"tag": unique(), "count": "exact"}
    await client.get(noun.path, params=asked)
    composed: list[str] = []
    monkeypatch.setattr("api.core.listing.compose", lambda text, **_: composed.append(text))
    for tag in (asked["tag"], unique()):
        answer = await client.get(noun.path, params={**asked, "tag": tag})
        assert answer.json()["items"] == []
    assert composed == []


async def test_what_a_page_brings_takes_no_look_at_the_type_of_each_of_its_items(
    connection: asyncpg.Connection[asyncpg.Record],
) -> None:
    """As elements of a list, asyncpg would ask of each whether it is a list itself."""
    looks: list[int] = []
    pooled = cast("db.Connection", connection)
    mine = asyncio.current_task()  # others of this thread, such as the service's own, look as well

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == "__instancecheck__":
            looks[-1] += asyncio.current_task() is mine

    for number in (1, 1, 100):  # the first prepares the statements
        looks.append(0)
        items = [Item(uuid4(), 1_000) for _ in range(number)]
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            await bring(pooled, EVERYTHING, RecordType.CLAIM, items, CLAIMS.expansions)
        finally:
            sys.setprofile(before)
    assert looks[2] == looks[1]
