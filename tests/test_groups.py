"""Groups, compared with what the records themselves say."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from api.questions import groups
from api.questions.groups import groupings
from api.records.claims import CLAIMS
from api.records.nouns import RESOURCES
from tests.callers import headers_of, readers
from tests.world import World

Record = dict[str, Any]
METRICS = ("killed", "killed", "injured")
ONE = {"unit": "person", "qualifier": "exact", "value": 1, "printed": "1"}


@pytest.fixture(scope="module")
async def world(client: httpx.AsyncClient) -> World:
    """Make records with few different values, some of them hidden from the public."""
    world = World(client)
    chance = random.Random(5)  # noqa: S311 - no secret
    for number in range(6):
        hidden = {0: "restricted", 2: "internal"}.get(number, "public")
        kind = chance.choice(["person", "state"])
        name = {"name": f"Source {number}"} if number % 2 else {"description": f"No. {number}"}
        await world.add("sources", f"s{number}", kind=kind, confidentiality=hidden, **name)
    for number in range(4):
        await world.add(
            "articles",
            f"a{number}",
            publisher_id=f"@s{number}",
            language=chance.choice(["en", "ko"]),
            published={"earliest": f"2024-1{number % 3}-01"},
            status="withheld" if number == 3 else "usable",
        )
    for number in range(40):
        hops = [
            {"position": at, "source_id": f"@s{chance.randrange(6)}"}
            for at in range(chance.randrange(3))
        ]
        day = f"2024-{chance.randint(10, 12)}-0{chance.randint(1, 3)}"
        await world.add(
            "claims",
            f"c{number}",
            kind=chance.choice([None, "event", "quantity"]),
            language=chance.choice(["en", "ko", "und"]),
            tags=[f"{world.tag} {tag}" for tag in range(3) if chance.random() < 0.3],
            review_status=chance.choice(["published", "published", "draft"]),
            attributions=hops,
            appearances=[{"article_id": f"@a{at}"} for at in range(4) if chance.random() < 0.3],
            quantities=[ONE | {"metric": each} for each in METRICS if chance.random() < 0.4],
            places=[
                {"role": "event", "name": "Kursk", "country_code": code}
                for code in ("RU", "RU", None, "UA")
                if chance.random() < 0.3
            ],
            stated=chance.choice([None, {"earliest": day}, {"latest": f"{day}T23:30:00-05:00"}]),
        )
    for number in range(30):
        await world.add(
            "denials",
            f"d{number}",
            targets=[{"claim_id": f"@c{each}"} for each in chance.sample(range(40), 2)],
            kind=chance.choice(["full_denial", "omission", "apology"]),
            scope_source_id="@s1",
            validity=chance.choice(["standing", "standing", "retracted"]),
            review_status=chance.choice(["published", "draft"]),
            attributions=[{"source_id": f"@s{chance.randrange(6)}"}],
            appearances=[{"article_id": f"@a{at}"} for at in range(4) if chance.random() < 0.3],
            quantities=[ONE | {"metric": each} for each in METRICS if chance.random() < 0.4],
            stated=chance.choice([None, {"earliest": "2024-11-30"}]),
        )
    return world


async def everything(
    world: World, plural: str, headers: dict[str, str], query: str
) -> list[Record]:
    path = f"/v1/{plural}?tag={world.tag}&limit=200&{query}"
    response = await world.client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    assert response.json()["next_cursor"] is None
    items: list[Record] = response.json()["items"]
    return items


class Oracle:
    """The values of records, read off the records that a caller sees."""

    def __init__(self, seen: dict[str, list[Record]]) -> None:
        self.sources = {each["id"]: each for each in seen["sources"]}
        self.articles = {each["id"]: each for each in seen["articles"]}
        self.answers: dict[str, set[str]] = {}
        for denial in seen["denials"]:
            if denial["validity"] == "standing":
                for target in denial["targets"]:
                    self.answers.setdefault(target["claim_id"], set()).add(denial["family"])

    def values(self, by: str, record: Record) -> set[str]:
        found = getattr(self, f"_{by}", None)
        if found is not None:
            return {value for value in found(record) if value is not None}
        name, _, period = by.partition(":")
        if not period:
            return {record[name]} - {None}
        return {
            start[: {"year": 4, "month": 7, "day": 10}[period]] for start in starts(record[name])
        }

    def _sources(self, hops: Iterable[Record]) -> set[str]:
        return {hop["source_id"] for hop in hops} & self.sources.keys()

    def _source_id(self, record: Record) -> set[str]:
        return self._sources(record["attributions"])

    def _claimant_id(self, record: Record) -> set[str]:
        return self._sources(hop for hop in record["attributions"] if hop["position"] == 0)

    _responder_id = _claimant_id

    def _origin_id(self, record: Record) -> set[str]:
        last = max((hop["position"] for hop in record["attributions"]), default=0)
        return self._sources(hop for hop in record["attributions"] if hop["position"] == last)

    def _article_id(self, record: Record) -> set[str]:
        return {each["article_id"] for each in record["appearances"]} & self.articles.keys()

    def _publisher_id(self, record: Record) -> set[str]:
        if "publisher_id" in record:
            return {record["publisher_id"]} & self.sources.keys()
        papers = {self.articles[each]["publisher_id"] for each in self._article_id(record)}
        return papers & self.sources.keys()

    def _tag(self, record: Record) -> list[str]:
        found: list[str] = record["tags"]
        return found

    def _metric(self, record: Record) -> set[str]:
        return {each["metric"] for each in record["quantities"]}

    def _place_country_code(self, record: Record) -> set[str | None]:
        return {each["country_code"] for each in record["places"]}

    def _response_family(self, record: Record) -> set[str]:
        return self.answers.get(record["id"], set())


def starts(time: Record | str | None) -> list[str]:
    """Give the day on which a time begins, in UTC, in a list; the tests know the one offset."""
    if isinstance(time, str):
        return [time]
    bound = time and (time["earliest"] or time["latest"])
    if not bound:
        return []
    if "T" not in bound:
        return [bound]
    year, month, day = map(int, bound[:10].split("-"))
    return [f"{year}-{month:02}-{day + 1:02}"]  # 23:30 in New York


ASKED = {
    "claims": ("", "review_status=draft", "kind=event&language=en", "response_family=denies"),
    "denials": ("", "validity=standing"),
    "articles": ("", "language=ko"),
    "sources": ("", "kind=person"),
}


@pytest.mark.parametrize("reader", readers())
@pytest.mark.parametrize(
    ("plural", "query"), [(plural, query) for plural, queries in ASKED.items() for query in queries]
)
async def test_groups_are_what_the_records_say(
    world: World, database_url: str, plural: str, query: str, reader: str
) -> None:
    headers = await headers_of(reader, database_url)
    oracle = Oracle({each: await everything(world, each, headers, "") for each in ASKED})
    records = await everything(world, plural, headers, query)
    (resource,) = (each for each in RESOURCES.values() if each.plural == plural)
    names = list(groupings(resource))
    for start in range(0, len(names), 5):
        for limit in (200, 2):
            some = names[start : start + 5]
            asked = [f"tag={world.tag}", f"limit={limit}", *(f"by={name}" for name in some), query]
            path = f"/v1/{plural}/groups?{'&'.join(asked)}"
            response = await world.client.get(path, headers=headers)
            assert response.status_code == 200, response.text
            check(response.json(), some, limit, records, oracle)


def check(
    found: Record, names: list[str], limit: int, records: list[Record], oracle: Oracle
) -> None:
    assert found["total"] == len(records)
    assert found["exact"] == dict.fromkeys(names, True)
    for by in names:
        values = [oracle.values(by, record) for record in records]
        counts = Counter(value for its in values for value in its)
        listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
        assert [(each["value"], each["count"]) for each in found["groups"][by]] == listed, by
        shown = {value for value, _ in listed}
        assert found["none"][by] == sum(not its for its in values), by
        assert found["others"][by] == sum(bool(its) and not its & shown for its in values), by
        for each in found["groups"][by]:
            assert each["name"] == name_of(each["value"], by, oracle), by


def name_of(value: str, by: str, oracle: Oracle) -> str | None:
    if not by.endswith("_id"):
        return None
    if by == "article_id":
        name: str = oracle.articles[value]["headline"]
        return name
    source = oracle.sources[value]
    found: str = source["name"] or source["description"]
    return found


PERIODS = ("year", "month", "day")
CHAIN = {"origin_id", "source_id", "publisher_id", "article_id", "metric", "response_family"}


@pytest.mark.parametrize(
    ("plural", "names", "times"),
    [
        (
            "claims",
            CHAIN | {"claimant_id", "place_country_code", "kind", "language", "tag", "validity"},
            ("stated", "occurred", "created_at"),
        ),
        (
            "denials",
            CHAIN | {"responder_id", "kind", "family", "language", "tag", "validity"},
            ("stated", "created_at"),
        ),
        (
            "articles",
            {"publisher_id", "kind", "language", "status", "tag"},
            ("published", "created_at"),
        ),
        ("sources", {"kind", "identification", "country_code", "tag"}, ("created_at",)),
    ],
)
def test_every_kind_of_key_is_there(plural: str, names: set[str], times: tuple[str, ...]) -> None:
    (resource,) = (each for each in RESOURCES.values() if each.plural == plural)
    periods = {f"{name}:{period}" for name in times for period in PERIODS}
    assert groupings(resource).keys() >= names | periods


async def test_counts_beyond_the_bound_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/claims/groups?tag={world.tag}&by=kind&by=metric"
    monkeypatch.setattr(groups, "MAX_GROUPED_BY_OTHERS", 10)
    found = (await world.client.get(path)).json()
    assert (found["total"], found["exact"]) == (40, {"kind": True, "metric": False})
    assert sum(each["count"] for each in found["groups"]["metric"]) <= 20
    monkeypatch.setattr(groups, "MAX_GROUPED", 15)
    found = (await world.client.get(path)).json()
    assert (found["total"], found["exact"]) == (15, {"kind": False, "metric": False})
    counted = sum(each["count"] for each in found["groups"]["kind"])
    assert counted + found["none"]["kind"] in (15, 16)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "by=kind&by=kind",
        "by=name",
        "by=stated",
        "&".join(f"by={name}" for name in list(groupings(CLAIMS))[:6]),
    ],
)
async def test_what_can_not_be_grouped_by_is_refused(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get(f"/v1/claims/groups?{query}")
    assert response.status_code == 400
    assert response.json()["errors"][0]["parameter"] == "by"
