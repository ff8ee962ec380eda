"""Filters by the parts of claims and denials, compared with what the records themselves say."""

from __future__ import annotations

import datetime as dt
import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from api.core.filters import Parameter
from api.records.claim_parts import read_box
from api.records.nouns import RESOURCES
from tests import test_filter_plans
from tests.callers import headers_of, readers
from tests.world import World, span

Record = dict[str, Any]
SEED: Final = 11
TEXT: Final = "One said so. Two said so. Three said so. Four said so. Five said so."
WORDS: Final = ("One", "Two", "Three", "Four", "Five")
PAPERS: Final = 3
ARTICLES: Final = 6
NAMES: Final = (
    "Kursk region",
    "Région de Koursk",
    "the north of the Kursk region",
    "Seoul — National Assembly",
    "平壤市",
)
SPOTS: Final = ((180, 10), (-180, 10), (-179.5, -20), (170, 0), (36.2, 51.7), (127, 37.5), (0, 0))
RATINGS: Final = (("Faktencheck Süd", "Mostly false"), ("faktencheck sud", "True"), ("B", "TRUE"))


def _appearance(chance: random.Random) -> Record:
    words = chance.sample(WORDS, chance.randrange(3))
    roles = ["content", "content", "cue"]
    spans = [span(TEXT, each, role=chance.choice(roles)) for each in words]
    return {
        "article_id": f"@a{chance.randrange(ARTICLES)}",
        "quote_type": chance.choice(["direct", "indirect"]),
        "stance": chance.choice(["neutral", "distancing"]),
        "spans": spans,
    }


def _place(chance: random.Random) -> Record:
    found: Record = {
        "role": chance.choice(["event", "statement"]),
        "name": chance.choice(NAMES),
        "country_code": chance.choice([None, "RU", "KR"]),
    }
    if chance.random() < 0.6:
        found["longitude"], found["latitude"] = chance.choice(SPOTS)
    return found


def _hops(chance: random.Random) -> list[Record]:
    hops: list[Record] = [{}, {"printed": "an official"}, {"source_id": "@p0"}]
    return [{"position": at, **chance.choice(hops)} for at in range(chance.randrange(3))]


@pytest.fixture(scope="module")
async def world(client: httpx.AsyncClient) -> World:
    """Make records whose parts have few different values; some of them are hidden."""
    world = World(client)
    chance = random.Random(SEED)  # noqa: S311 - no secret
    for number in range(PAPERS):
        await world.add("sources", f"p{number}", kind="publication", name=f"Paper {number}")
    for number in range(ARTICLES):
        await world.add(
            "articles",
            f"a{number}",
            publisher_id=None if number == 0 else f"@p{number % PAPERS}",
            text=TEXT,
            published={"earliest": f"2024-0{number + 1}-10", "latest": f"2024-0{number + 2}-05"},
            status="withheld" if number == 4 else "usable",
        )
    for plural, count in (("claims", 60), ("denials", 30)):
        for number in range(count):
            parts: Record = {
                "review_status": chance.choice(["published", "published", "draft"]),
                "attributions": _hops(chance),
                "appearances": [_appearance(chance) for _ in range(chance.randrange(3))],
            }
            if plural == "claims":
                parts["places"] = [_place(chance) for _ in range(chance.randrange(3))]
                parts["assessments"] = [
                    {"assessor": who, "scheme": "S", "label": label}
                    for who, label in chance.sample(RATINGS, chance.randrange(3))
                ]
            await world.add(plural, f"{plural} {number}", **parts)
    # The words of three are lost in these articles, and move in the others.
    for number in (1, 2):
        moved = TEXT.replace("One said so. ", "").replace("Two said so", "2 said so")
        await world.patch(f"a{number}", text=f"{moved} Five said so.")
    return world


# --- the oracle ----------------------------------------------------------------------------------


class Oracle:
    """Tell from the records that a caller sees which of them a question finds."""

    def __init__(self, articles: list[Record]) -> None:
        self.articles = {each["id"]: each for each in articles}

    def matches(self, record: Record, asked: dict[str, str]) -> bool:
        rest = dict(asked)
        if (credited := rest.pop("credited", None)) is not None:
            names = [hop["source_id"] or hop["printed"] for hop in record["attributions"]]
            if any(names) != (credited == "true"):
                return False
        for part, conditions in PARTS.items():
            here = {name: rest.pop(name) for name in list(rest) if name in conditions}
            if here and not any(
                all(conditions[name](self, element, value) for name, value in here.items())
                for element in record.get(part, ())
            ):
                return False
        assert not rest
        return True

    def article(self, appearance: Record) -> Record:
        found: Record = self.articles.get(appearance["article_id"], {})
        return found

    def published(self, appearance: Record, bound: str) -> str:
        time = self.article(appearance).get("published")
        found: str = time[bound] if time else ""
        return found


def folded(text: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return bare.lower()


def has_words(name: str, asked: str) -> bool:
    return set(re.findall(r"\w+", folded(asked))) <= set(re.findall(r"\w+", folded(name)))


def inside(place: Record, box: str) -> bool:
    west, south, east, north = map(float, box.split(","))
    if place["longitude"] is None or not south <= place["latitude"] <= north:
        return False
    turns = {place["longitude"]} | ({180, -180} if abs(place["longitude"]) == 180 else set())
    if west <= east:
        return any(west <= each <= east for each in turns)
    return any(each >= west or each <= east for each in turns)


Condition = Callable[[Oracle, Record, str], bool]
PARTS: Final[dict[str, dict[str, Condition]]] = {
    "appearances": {
        "article_id": lambda _, each, value: each["article_id"] == value,
        "publisher_id": lambda all_, each, value: all_.article(each).get("publisher_id") == value,
        "published__gte": lambda all_, each, value: all_.published(each, "latest") >= value,
        "published__lt": lambda all_, each, value: "" < all_.published(each, "earliest") < value,
        **{
            name: lambda _, each, value, name=name: each[name] == value  # type: ignore[misc]
            for name in ("quote_type", "stance", "anchor")
        },
    },
    "places": {
        "place": lambda _, each, value: has_words(each["name"], value),
        "place_country_code": lambda _, each, value: each["country_code"] == value,
        "place_role": lambda _, each, value: each["role"] == value,
        "bbox": lambda _, each, value: inside(each, value),
    },
    "assessments": {
        "assessor": lambda _, each, value: folded(each["assessor"]) == folded(value),
        "assessment_label": lambda _, each, value: folded(each["label"]) == folded(value),
    },
}
VALUES: Final[dict[str, list[str]]] = {
    "article_id": [f"@a{number}" for number in range(ARTICLES)],
    "publisher_id": [f"@p{number}" for number in range(PAPERS)],
    "published__gte": ["2024-03-05", "2024-03-06", "2024-06-01", "2024-08-01"],
    "published__lt": ["2024-01-10", "2024-02-10", "2024-02-11", "2024-05-01"],
    "quote_type": ["direct", "indirect", "mixed"],
    "stance": ["neutral", "distancing"],
    "anchor": ["exact", "relocated", "ambiguous", "orphaned"],
    "place": ["kursk", "REGION kursk", "koursk region", "north of", "assembly seoul", "moscow"],
    "place_country_code": ["RU", "KR", "US"],
    "place_role": ["event", "statement", "origin"],
    "bbox": [
        "-180,-90,180,90",
        "170,-30,-170,30",
        "180,10,180,10",
        "-180,0,-179,20",
        "170,0,180,10",
        "36.2,51.7,36.2,51.7",
        "36.2,51.7,127,51.8",
        "179,-30,-179.5,-20",
        "-10,-10,10,10",
    ],
    "assessor": ["FAKTENCHECK SUD", "b", "nobody"],
    "assessment_label": ["true", "mostly FALSE"],
    "credited": ["true", "false"],
}
OF_DENIALS: Final = [*PARTS["appearances"], "credited"]


def questions(plural: str) -> Iterator[dict[str, str]]:
    """Ask for each value alone, and for many of them together."""
    names = list(VALUES) if plural == "claims" else OF_DENIALS
    for name in names:
        yield from ({name: value} for value in VALUES[name])
    chance = random.Random(SEED)  # noqa: S311 - no secret
    parts = [[each for each in names if each in part] for part in PARTS.values()]
    for _ in range(60):
        some = chance.choice([each for each in parts if each])
        chosen = chance.sample(some, min(len(some), chance.randint(2, 3)))
        chosen += ["credited"] if chance.random() < 0.2 else []
        yield {name: chance.choice(VALUES[name]) for name in chosen}


async def everything(world: World, plural: str, headers: dict[str, str]) -> list[Record]:
    path = f"/v1/{plural}?tag={world.tag}&limit=200"
    items: list[Record] = (await world.client.get(path, headers=headers)).json()["items"]
    return items


@pytest.fixture(params=readers())
def reader(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
async def headers(reader: str, database_url: str) -> dict[str, str]:
    return await headers_of(reader, database_url)


@pytest.mark.long
@pytest.mark.parametrize("plural", ["claims", "denials"])
async def test_filters_find_what_the_records_say(
    world: World, plural: str, headers: dict[str, str]
) -> None:
    oracle = Oracle(await everything(world, "articles", headers))
    records = await everything(world, plural, headers)
    found_any: set[str] = set()
    for question in questions(plural):
        asked = world.resolved(question)
        expected = {each["id"] for each in records if oracle.matches(each, asked)}
        parameters = {**asked, "tag": world.tag, "limit": 200}
        response = await world.client.get(f"/v1/{plural}", params=parameters, headers=headers)
        assert response.status_code == 200, response.text
        assert {each["id"] for each in response.json()["items"]} == expected, question
        if expected and len(expected) < len(records):
            found_any |= question.keys()
    assert found_any == set(VALUES if plural == "claims" else OF_DENIALS)


@pytest.mark.parametrize("plural", ["claims", "denials"])
async def test_a_body_asks_the_same(world: World, plural: str) -> None:
    for question in list(questions(plural))[::5]:
        asked = {**world.resolved(question), "tag": world.tag, "limit": 200}
        body = {
            **asked,
            **({"credited": asked["credited"] == "true"} if "credited" in asked else {}),
        }
        by_url = await world.client.get(f"/v1/{plural}", params=asked)
        by_body = await world.client.post(f"/v1/{plural}/query", json=body)
        assert by_body.json() == by_url.json(), question


async def test_a_hidden_article_is_found_through_by_nobody_who_does_not_see_it(
    world: World, headers: dict[str, str], reader: str
) -> None:
    sees_hidden = reader in ("editor", "articles", "everybody")
    path = f"/v1/claims?tag={world.tag}&published__gte=2024-05-10&published__lt=2024-05-11"
    found = (await world.client.get(path, headers=headers)).json()["items"]
    hidden = world.id("a4")
    printed = [each["article_id"] for record in found for each in record["appearances"]]
    assert (hidden in printed) is sees_hidden
    grouped = await world.client.get(
        f"/v1/claims/groups?tag={world.tag}&by=publisher_id&article_id={hidden}", headers=headers
    )
    assert (grouped.json()["total"] > 0) is sees_hidden


# --- the order of reading ------------------------------------------------------------------------


def order(record: Record, article_id: str) -> tuple[int, int]:
    """Tell where a record is printed: with a content span, with others, or with none."""
    places = []
    for each in record["appearances"]:
        if each["article_id"] != article_id or each["anchor"] in ("orphaned", "ambiguous"):
            continue
        content = [span["start"] for span in each["spans"] if span["role"] == "content"]
        others = [span["start"] for span in each["spans"]]
        places += [(0, min(content))] if content else [(1, min(others))] if others else []
    return min(places, default=(2, 0))


@pytest.mark.parametrize("plural", ["claims", "denials"])
async def test_the_records_of_an_article_come_in_the_order_of_reading(
    world: World, plural: str, headers: dict[str, str]
) -> None:
    kinds = set()
    for number in range(ARTICLES):
        article_id = world.id(f"a{number}")
        here = f"tag={world.tag}&article_id={article_id}"
        path = f"/v1/{plural}?{here}&limit=200"
        records = (await world.client.get(path, headers=headers)).json()["items"]
        kinds |= {order(each, article_id)[0] for each in records}
        ascending = sorted(records, key=lambda r: (*order(r, article_id), r["id"]))
        standing = [each for each in ascending if order(each, article_id)[0] < 2]
        lost = [each for each in ascending if order(each, article_id)[0] == 2]
        descending = sorted(standing, key=lambda r: r["id"], reverse=True)
        descending.sort(key=lambda r: order(r, article_id), reverse=True)
        for sort, expected in (
            ("position", ascending),
            ("-position", [*descending, *reversed(lost)]),
        ):
            for limit in (2, 200):
                pages = [
                    each
                    async for each in paged(
                        world, f"/v1/{plural}?{here}&sort={sort}&limit={limit}", headers
                    )
                ]
                assert [each["id"] for each in pages] == [each["id"] for each in expected]
    assert kinds == {0, 1, 2}


async def paged(world: World, path: str, headers: dict[str, str]) -> Any:
    while path:
        response = await world.client.get(path, headers=headers)
        assert response.status_code == 200, response.text
        for item in response.json()["items"]:
            yield item
        path = response.links.get("next", {}).get("url", "")


async def test_what_is_lost_in_an_article_moves_to_its_end_and_back(
    client: httpx.AsyncClient,
) -> None:
    world = World(client)
    await world.add("articles", "a", text=TEXT)
    for word in ("Two", "One", "Three"):
        appearance = {"article_id": "@a", "spans": [span(TEXT, word)]}
        await world.add("claims", word, appearances=[appearance])

    async def read() -> list[str]:
        path = f"/v1/claims?article_id={world.id('a')}&sort=position"
        return [world.named(each["id"]) for each in (await client.get(path)).json()["items"]]

    assert await read() == ["One", "Two", "Three"]
    await world.patch("a", text=TEXT.replace("One", "Nobody"))
    assert await read() == ["Two", "Three", "One"]
    await world.patch("a", text=TEXT)
    assert await read() == ["One", "Two", "Three"]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("plural", ["claims", "denials"])
@pytest.mark.parametrize("sort", ["position", "-position"])
async def test_the_order_of_reading_is_that_of_one_article(
    client: httpx.AsyncClient, plural: str, sort: str
) -> None:
    answer = await client.get(f"/v1/{plural}?sort={sort}")
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {
            "parameter": "sort",
            "code": "invalid-parameter",
            "detail": "`position` can only be used together with `article_id`.",
        }
    ]
    assert (await client.get(f"/v1/{plural}?sort={sort}&publisher_id=x")).status_code == 400


async def test_other_lists_have_no_order_of_reading(client: httpx.AsyncClient) -> None:
    for plural in ("articles", "sources"):
        assert (await client.get(f"/v1/{plural}?sort=position")).status_code == 400


HALVES: Final = [
    (resource.path, parameter, each.needs)
    for resource in RESOURCES.values()
    for each in resource.all_filters
    for parameter in each.parameters
    if each.needs not in (None, parameter.name)
]


@pytest.mark.parametrize(
    ("path", "half", "other"), HALVES, ids=[f"{path}?{half.name}" for path, half, _ in HALVES]
)
async def test_half_a_question_is_refused(
    client: httpx.AsyncClient, path: str, half: Parameter, other: str
) -> None:
    answer = await client.get(f"{path}?{test_filter_plans.question(half)}")
    assert answer.status_code == 400
    (fault,) = answer.json()["errors"]
    assert fault["parameter"] == half.name
    assert fault["detail"] == f"It can only be used together with `{other}`."


BAD_BOXES: Final = (
    ("", "west,south,east,north"), ("1,2,3", "west,south,east,north"),
    ("1,2,3,4,5", "west,south,east,north"), ("a,b,c,d", "west,south,east,north"),
    ("1, 2,3,4", "west,south,east,north"), ("1e1,2,3,4", "west,south,east,north"),
    ("NaN,0,0,0", "west,south,east,north"), ("-180.1,0,0,0", "between -180 and 180"),
    ("0,0,181,0", "between -180 and 180"), ("0,-90.5,0,0", "between -90 and 90"),
    ("0,0,0,91", "between -90 and 90"), ("0,10,0,9.9", "south is not above north"),
)  # fmt: skip


@pytest.mark.parametrize(("box", "way_out"), BAD_BOXES)
async def test_a_box_that_is_none_is_refused(
    client: httpx.AsyncClient, box: str, way_out: str
) -> None:
    answer = await client.get("/v1/claims", params={"bbox": box})
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["parameter"] == "bbox"
    assert way_out in error["detail"]
    assert (await client.get("/v1/claims/groups", params={"by": "kind", "bbox": box})).is_error
    assert (await client.post("/v1/claims/query", json={"bbox": box})).is_client_error


def test_a_box_across_the_antimeridian_is_two() -> None:
    assert read_box("170,-20,-170,20") == [170, -20, 180, 20, -180, -20, -170, 20]
    assert read_box("-180,-90,180,90") == [-180, -90, 180, 90] * 2
    assert read_box("180,0,180,0") == [180, 0, 180, 0, -180, 0, -180, 0]


async def test_a_published_time_is_a_date(client: httpx.AsyncClient) -> None:
    today = dt.date(2024, 12, 19).isoformat()
    assert (await client.get(f"/v1/claims?published__gte={today}")).status_code == 200
    assert (await client.get("/v1/denials?published__gte=2024-02-30")).status_code == 400
