"""The list of figures, compared with what the records themselves say."""

from __future__ import annotations

import math
import random
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.questions import comparing, conflicts
from api.questions.conflicts import Counted, Known, find_conflicts
from tests.callers import KEYS, TRIED, headers_of
from tests.test_figures import figure
from tests.world import NEEDED_BY, World

Record = dict[str, Any]


# --- invented records ------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def world(client: httpx.AsyncClient) -> World:
    """Make records whose figures meet often, some of them hidden from the public."""
    world = World(client)
    chance = random.Random(8)  # noqa: S311 - no secret
    for number in range(5):
        hidden = {0: "restricted", 2: "internal"}.get(number, "public")
        await world.add("sources", f"s{number}", confidentiality=hidden)
    for number in range(3):
        status = "withheld" if number == 0 else "usable"
        await world.add("articles", f"a{number}", status=status, publisher_id="@s1")
    for number in range(60):
        claim = {
            **said(chance, world),
            "occurred": chance.choice([*DAYS, *DAYS[1:4]]),
            "places": [
                {"role": role, "name": f"{world.tag} {name}", "country_code": "RU"}
                for role, name in (("event", "Kursk"), ("event", "KÚRSK"), ("scope", "Sumy"))
                if chance.random() < 0.6
            ],
            "relations": [
                {
                    "claim_id": f"@c{other}",
                    "kind": kind,
                    "basis": "editor",
                    "state": chance.choice(["confirmed", "confirmed", "suggested", "rejected"]),
                }
                for kind in ("restates", "same_origin_as", "conflicts_with")
                for other in chance.sample(range(number), min(number, 1))
                if chance.random() < 0.25
            ],
        }
        await world.add("claims", f"c{number}", **claim)
    for number in range(15):
        targets = [{"claim_id": f"@c{each}"} for each in chance.sample(range(60), 2)]
        denial = {**said(chance, world), "kind": "disputes_figures", "targets": targets}
        await world.add("denials", f"d{number}", **denial)
    return world


DAYS: list[Record | None] = [
    None,
    {"earliest": "2024-12-17"},
    {"latest": "2024-12-18"},
    {"earliest": "2024-12-16", "latest": "2024-12-18"},
    {"expression": "lately"},
]


def said(chance: random.Random, world: World) -> Record:
    """Invent what claims and denials have in common."""
    places = chance.randrange(3)
    return {
        "stated": chance.choice(DAYS),
        "review_status": chance.choice(["published", "published", "published", "draft"]),
        "language": chance.choice(["en", "ko"]),
        "validity": chance.choice(["standing", "superseded"]),
        "attributions": [
            {"position": at, "source_id": f"@s{chance.randrange(5)}"} for at in range(places)
        ],
        "appearances": [{"article_id": f"@a{at}"} for at in range(3) if chance.random() < 0.1],
        "quantities": [invented(chance, world.tag) for _ in range(chance.choice([0, 1, 1, 1, 2]))],
    }


def invented(chance: random.Random, tag: str) -> Record:
    """Invent a figure of few different kinds and numbers."""
    qualifier = chance.choice([*NEEDED_BY, "exact", "more_than", "fewer_than"])
    lower, upper = sorted(chance.choices([10, 20, 20.5, 30], k=2))
    numbers = {"value": lower, "lower": lower, "upper": upper, "term": "heavy"}
    return figure(
        qualifier,
        **{name: numbers[name] for name in NEEDED_BY[qualifier]},
        metric=chance.choice(["killed", "killed", "killed", "killed", "injured"]),
        unit=chance.choice(["person", "Person"]),
        population=chance.choice([f"{tag} soldiers", f"{tag} SOLDIERS", f"{tag} soldiers", None]),
        as_of=chance.choice([None, None, "2024-12-17", "2024-12-18T10:00:00Z"]),
    )


# --- the oracle ------------------------------------------------------------------------------


def folded(text: str | None) -> str | None:
    """Ignore case and accents."""
    if text is None:
        return None
    plain = unicodedata.normalize("NFD", text.lower())
    return "".join(each for each in plain if not unicodedata.combining(each))


def bounds(of: Record) -> tuple[float, float, bool, bool] | None:
    """Give what the printed words allow: lower and upper, and whether each is open."""
    match of["qualifier"]:
        case "exact" | "approximately":
            return of["value"], of["value"], False, False
        case "at_least" | "more_than":
            return of["lower"], math.inf, of["qualifier"] == "more_than", False
        case "at_most" | "fewer_than" | "approaching":
            return -math.inf, of["upper"], False, of["qualifier"] == "fewer_than"
        case "between":
            return of["lower"], of["upper"], False, False
    return None


def days(time: Record | str | None) -> tuple[str, str] | None:
    """Give the first and the last day of a time; the tests know no other instants than one."""
    if isinstance(time, str):
        return time[:10], time[:10]
    if time is None or not (time["earliest"] or time["latest"]):
        return None
    return time["earliest"] or time["latest"], time["latest"] or time["earliest"]


class Oracle:
    """The figures of the records that a caller sees."""

    def __init__(self, seen: dict[str, list[Record]]) -> None:
        self.seen = {each["id"] for records in seen.values() for each in records}
        self.claims = {each["id"]: each for each in seen["claims"]}
        self.denials = {each["id"]: each for each in seen["denials"]}
        self.figures = [
            (kind, record, index)
            for kind, records in (("claim", self.claims), ("denial", self.denials))
            for record in records.values()
            for index in range(len(record["quantities"]))
        ]

    def related(self, claim: Record, kinds: set[str], state: str = "confirmed") -> set[str]:
        """Give the claims that are related, whichever of the two says so."""
        return {
            other["id"]
            for other in self.claims.values()
            for one, two in ((claim, other), (other, claim))
            for relation in one["relations"]
            if (relation["claim_id"], relation["state"]) == (two["id"], state)
            and relation["kind"] in kinds
        }

    def about(self, kind: str, record: Record) -> set[str]:
        """Give the claims that a record says the same as, or answers."""
        reached: set[str] = set()
        if kind == "claim":
            waiting = {record["id"]}
        else:
            waiting = {each["claim_id"] for each in record["targets"]} & self.claims.keys()
        while waiting:
            claim = waiting.pop()
            reached.add(claim)
            waiting |= self.related(self.claims[claim], {"restates", "same_origin_as"}) - reached
        return reached

    def places(self, kind: str, record: Record) -> set[str | None]:
        if kind == "denial":
            return set()
        return {folded(each["name"]) for each in record["places"] if each["role"] == "event"}

    def conflict(self, one: tuple[str, Record, int], two: tuple[str, Record, int]) -> bool:
        """Tell whether two figures conflict by their numbers."""
        if (one[0], one[1]["id"]) == (two[0], two[1]["id"]):
            return False
        if one[0] == two[0] == "claim" and two[1]["id"] in self.related(
            one[1], {"conflicts_with"}, "rejected"
        ):
            return False
        first, second = (record["quantities"][index] for _, record, index in (one, two))
        same = all(folded(first[name]) == folded(second[name]) for name in COUNTED)
        times = [days(f["as_of"] or r.get("occurred")) for f, (_, r, _) in
                 ((first, one), (second, two))]  # fmt: skip
        if not same or None in times:
            return False
        (start, end), (other_start, other_end) = times  # type: ignore[misc]
        if end < other_start or other_end < start:
            return False
        if not (
            self.about(*one[:2]) & self.about(*two[:2])
            or self.places(*one[:2]) & self.places(*two[:2])
        ):
            return False
        ranges = bounds(first), bounds(second)
        return None not in ranges and (below(*ranges) or below(*reversed(ranges)))  # type: ignore[arg-type]

    def item(self, kind: str, record: Record, index: int) -> Record:
        """Write an item."""
        this = (kind, record, index)
        stated = []
        for other in self.related(record, {"conflicts_with"}) if kind == "claim" else ():
            indexes = range(len(self.claims[other]["quantities"])) or [None]
            stated += [("claim", other, each) for each in indexes]
        computed = [(k, r["id"], i) for k, r, i in self.figures if self.conflict(this, (k, r, i))]
        keys = sorted(stated, key=order) + sorted(set(computed) - set(stated), key=order)
        lower, upper, lower_open, upper_open = bounds(record["quantities"][index]) or NOTHING
        last = max((hop["position"] for hop in record["attributions"]), default=0)
        quantity: Record = record["quantities"][index]
        return quantity | {
            "record": {"type": kind, "id": record["id"]},
            "index": index,
            "lower_bound": None if lower is None or math.isinf(lower) else lower,
            "upper_bound": None if upper is None or math.isinf(upper) else upper,
            "lower_open": lower_open,
            "upper_open": upper_open,
            "claimants": self.ids(
                hop["source_id"] for hop in record["attributions"] if hop["position"] == 0
            ),
            "origins": self.ids(
                hop["source_id"] for hop in record["attributions"] if hop["position"] == last
            ),
            "articles": self.ids(each["article_id"] for each in record["appearances"]),
            **{name: record.get(name) for name in ("stated", "occurred", "validity")},
            "conflicts": [
                {
                    "record": {"type": of, "id": identity},
                    "index": at,
                    "basis": "stated" if (of, identity, at) in stated else "computed",
                }
                for of, identity, at in keys[:20]
            ],
            "more": len(keys) > 20,
        }

    def ids(self, found: Iterator[str]) -> list[str]:
        return sorted(set(found) & self.seen)


COUNTED = ("metric", "unit", "population")
NOTHING = (None, None, False, False)


def below(one: tuple[float, float, bool, bool], two: tuple[float, float, bool, bool]) -> bool:
    return one[1] < two[0] or (one[1] == two[0] and (one[3] or two[2]))


def order(key: tuple[str, str, int | None]) -> tuple[str, str, int]:
    kind, identity, index = key
    return identity, kind, -1 if index is None else index


def sort_key(sort: str, item: Record, records: dict[str, Record]) -> Any:
    """Give what an item is sorted by; null comes last."""
    if sort == "created_at":
        return records[item["record"]["id"]]["created_at"]
    if sort == "stated":
        found = days(item["stated"])
        return found and found[0]
    return (bounds(item) or (None, None))[sort == "upper"]


def in_order(items: list[Record], sort: str, records: dict[str, Record]) -> list[Record]:
    name, down = sort.removeprefix("-"), sort.startswith("-")

    def place(item: Record) -> tuple[str, str, int]:
        return item["record"]["id"], item["record"]["type"], item["index"]

    valued = [item for item in items if sort_key(name, item, records) is not None]
    valued.sort(key=lambda item: (sort_key(name, item, records), *place(item)), reverse=down)
    others = [item for item in items if item not in valued]
    return [*valued, *sorted(others, key=place, reverse=down)]


# --- what is asked ---------------------------------------------------------------------------


async def everything(world: World, path: str, headers: dict[str, str]) -> list[Record]:
    """Read all pages."""
    found: list[Record] = []
    following = ""
    while True:
        answer = await world.client.get(f"{path}{following}", headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) > 0
        following = f"&cursor={page['next_cursor']}"


async def oracle_for(world: World, headers: dict[str, str]) -> Oracle:
    plurals = ("sources", "articles", "claims", "denials")
    return Oracle(
        {
            each: await everything(world, f"/v1/{each}?tag={world.tag}&limit=200", headers)
            for each in plurals
        }
    )


Kept = Callable[[str, Record, Record], bool]
ASKED: dict[str, Kept] = {
    "": lambda _, __, ___: True,
    "metric=killed": lambda _, __, f: f["metric"] == "killed",
    "metric=killed&unit=PERSON&quantity_from=25": lambda _, __, f: (
        f["metric"] == "killed" and (bounds(f) or (0, 0))[1] >= 25
    ),
    "metric=killed&quantity_from=20&quantity_to=20": lambda _, __, f: (
        f["metric"] == "killed" and bounds(f) is not None and has_twenty(bounds(f))
    ),
    "validity=standing": lambda _, r, __: r["validity"] == "standing",
    "validity__nin=standing&language=ko": lambda _, r, __: (
        r["validity"] != "standing" and r["language"] == "ko"
    ),
    "kind=event": lambda _, __, ___: False,
    "family=denies": lambda kind, __, ___: kind == "denial",
    "embedding=asserted": lambda kind, __, ___: kind == "claim",
    "embedding=asserted&family=denies": lambda _, __, ___: False,
}


def has_twenty(of: Any) -> bool:
    lower, upper, lower_open, upper_open = of
    above = lower < 20 or (lower == 20 and not lower_open)
    return bool(above and (upper > 20 or (upper == 20 and not upper_open)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("query", "reader"),
    [
        *((query, reader) for query in ASKED for reader in TRIED),
        *(
            pytest.param("", reader, marks=pytest.mark.sweep)
            for reader in sorted(KEYS.keys() - TRIED)
        ),
    ],
)
async def test_figures_are_what_the_records_say(
    world: World, database_url: str, query: str, reader: str
) -> None:
    headers = await headers_of(reader, database_url)
    oracle = await oracle_for(world, headers)
    expected = [
        oracle.item(kind, record, index)
        for kind, record, index in oracle.figures
        if ASKED[query](kind, record, record["quantities"][index])
    ]
    found = await everything(world, f"/v1/figures?tag={world.tag}&limit=200&{query}", headers)
    expected = in_order(expected, "-created_at", oracle.claims | oracle.denials)
    assert found == expected
    if query == "":
        bases = [each["basis"] for item in found for each in item["conflicts"]]
        assert bases.count("computed") > 4
        assert bases.count("stated") > 1
        types = {each["record"]["type"] for item in found for each in item["conflicts"]}
        assert reader != "everybody" or types == {"claim", "denial"}


@pytest.mark.long
@pytest.mark.parametrize("reader", TRIED)
@pytest.mark.parametrize("metric", ["", "&metric=killed"])
@pytest.mark.parametrize(
    "sort",
    [f"{sign}{name}" for name in ("lower", "upper", "stated", "created_at") for sign in ("", "-")],
)
async def test_figures_are_paged_in_their_order(
    world: World, database_url: str, sort: str, metric: str, reader: str
) -> None:
    headers = await headers_of(reader, database_url)
    path = f"/v1/figures?tag={world.tag}&sort={sort}{metric}"
    whole = await everything(world, f"{path}&limit=200", headers)
    assert len(whole) > 20
    assert await everything(world, f"{path}&limit=3", headers) == whole
    records: dict[str, Record] = {}
    for plural in ("claims", "denials"):
        found = await everything(world, f"/v1/{plural}?tag={world.tag}&limit=200", headers)
        records |= {each["id"]: each for each in found}
    assert whole == in_order(whole, sort, records)


# --- conflicts -------------------------------------------------------------------------------


async def listed(world: World, query: str = "", **headers: str) -> dict[str, Record]:
    """List the figures of a world, by the names of their records, in whose conflicts are names."""
    answer = await world.client.get(
        f"/v1/figures?tag={world.tag}&limit=200&{query}", headers=headers
    )
    assert answer.status_code == 200, answer.text
    items = world.named(answer.json()["items"])
    return {item["record"]["id"]: item for item in items}


def against(item: Record) -> list[tuple[str, int | None, str]]:
    return [(each["record"]["id"], each["index"], each["basis"]) for each in item["conflicts"]]


async def test_a_stated_conflict_may_be_between_different_metrics(
    client: httpx.AsyncClient,
) -> None:
    world = World(client)
    await world.add("claims", "silent")
    relations = [
        {"claim_id": "@silent", "kind": "conflicts_with", "basis": "editor", "state": state}
        for state in ("confirmed",)
    ]
    await world.add("claims", "killed", quantities=[figure(value=1)], relations=relations)
    two = [figure(value=2, metric="wounded"), figure("vague", term="many")]
    relations = [relations[0] | {"claim_id": "@killed"}]
    await world.add("claims", "wounded", quantities=two, relations=relations)
    found = await listed(world)
    assert sorted(against(found["killed"])) == [
        ("silent", None, "stated"),
        ("wounded", 0, "stated"),
        ("wounded", 1, "stated"),
    ]
    assert against(found["wounded"]) == [("killed", 0, "stated")]
    assert found["killed"]["more"] is False
    await world.patch("wounded", relations=[relations[0] | {"state": "rejected"}])
    assert against((await listed(world))["wounded"]) == []


async def test_a_hidden_claim_joins_nothing(client: httpx.AsyncClient, database_url: str) -> None:
    world = World(client)
    key = await headers_of("reader", database_url)
    population = f"{world.tag} troops"

    def counted(value: int) -> list[Record]:
        return [figure(value=value, population=population, as_of="2024-12-17")]

    published = {"review_status": "published"}
    restates = {"kind": "restates", "basis": "editor", "state": "confirmed"}
    await world.add("claims", "one", quantities=counted(10), **published)
    bridge = [restates | {"claim_id": "@one"}]
    await world.add("claims", "bridge", quantities=counted(10), relations=bridge)
    to_bridge = [restates | {"claim_id": "@bridge"}]
    await world.add("claims", "two", quantities=counted(20), relations=to_bridge, **published)
    assert sorted(against((await listed(world))["two"])) == [
        ("bridge", 0, "computed"),
        ("one", 0, "computed"),
    ]
    assert against((await listed(world, **key))["two"]) == []


async def test_a_conflict_that_an_editor_rejects_is_not_computed(client: httpx.AsyncClient) -> None:
    world = World(client)
    counted = [figure(value=at, population=world.tag, as_of="2024-12-17") for at in (1, 2)]
    place = {"role": "event", "name": world.tag}
    await world.add("claims", "one", quantities=counted[:1], places=[place])
    await world.add("claims", "two", quantities=counted[1:], places=[place])
    assert against((await listed(world))["one"]) == [("two", 0, "computed")]
    relation = {"claim_id": "@one", "kind": "conflicts_with", "basis": "editor"}
    await world.patch("two", relations=[relation | {"state": "rejected"}])
    found = await listed(world)
    assert [against(found[name]) for name in ("one", "two")] == [[], []]


async def test_what_is_listed_and_compared_is_bounded(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(client)
    place = {"role": "event", "name": world.tag}
    for number in range(24):
        counted = figure(value=number, population=world.tag, as_of="2024-12-17")
        await world.add("claims", f"c{number}", quantities=[counted], places=[place])
    found = await listed(world)
    assert {len(item["conflicts"]) for item in found.values()} == {20}
    assert all(item["more"] for item in found.values())

    ordinary = await listed(world, "metric=killed&quantity_to=0")
    assert ordinary["c0"]["more"]
    monkeypatch.setattr(comparing, "MAX_OF_TOPIC", 5)
    cut = (await listed(world, "metric=killed&quantity_to=0"))["c0"]
    assert len(cut["conflicts"]) == 6
    assert cut["more"]


async def test_figures_are_compared_at_a_bounded_number_of_places(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 200 figures on a page can have 50 places, with very many other figures at each."""
    world = World(client)
    places = [{"role": "event", "name": f"{world.tag} {number}"} for number in range(4)]
    for number in range(3):
        counted = figure(value=number, population=world.tag, as_of="2024-12-17")
        await world.add("claims", f"c{number}", quantities=[counted], places=places)
    await world.add("claims", "c3", quantities=[counted], places=places[:1])
    monkeypatch.setattr(comparing, "MAX_AT_PLACES", 5)
    found = await listed(world, "metric=killed")
    assert [found[f"c{number}"]["more"] for number in range(4)] == [True, True, True, False]
    counts = [len(against(found[f"c{number}"])) for number in range(4)]
    # At which of their places the first ones are compared is not known: c3 may be there or not.
    assert set(counts[:2]) <= {2, 3}
    assert counts[2:] == [2, 2]


async def test_the_closure_of_claims_is_bounded(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(client)
    for number in range(6):
        counted = figure(value=number, population=world.tag, as_of="2024-12-17")
        relations = [{"claim_id": f"@c{number - 1}", "kind": "restates", "basis": "editor"}]
        await world.add(
            "claims", f"c{number}", quantities=[counted], relations=relations if number else []
        )
    asked = "metric=killed&quantity_to=0"
    whole = (await listed(world, asked))["c0"]
    assert (len(whole["conflicts"]), whole["more"]) == (5, False)
    with monkeypatch.context() as few:
        few.setattr(conflicts, "MAX_COMPARED", 4)
        cut = (await listed(world, asked))["c0"]
    assert (len(cut["conflicts"]), cut["more"]) == (3, True)  # it is compared with itself as well
    monkeypatch.setattr(comparing, "MAX_SAME", 3)
    cut = (await listed(world, asked))["c0"]
    assert (len(cut["conflicts"]), cut["more"]) == (2, True)


@pytest.mark.parametrize("plural", ["claims", "denials"])
async def test_expand_brings_the_records_of_figures_and_of_their_conflicts(
    client: httpx.AsyncClient, plural: str
) -> None:
    world = World(client)
    for name in ("mp", "publisher", "other"):
        await world.add("sources", name)
    await world.add("articles", "paper", publisher_id="@publisher")
    counted = [figure(value=100, as_of="2024-12-17")]
    claim = {"attributions": [{"source_id": "@mp"}], "appearances": [{"article_id": "@paper"}]}
    await world.add("claims", "said", quantities=counted, **claim)
    await world.add(
        "denials",
        "denied",
        quantities=[figure(value=9, as_of="2024-12-17")],
        targets=[{"claim_id": "@said"}],
        attributions=[{"source_id": "@other"}],
    )
    only = "family=denies" if plural == "denials" else "embedding=asserted"
    answer = await client.get(
        f"/v1/figures?tag={world.tag}&expand=sources,articles,claims,denials&{only}"
    )
    page = world.named(answer.json())
    assert [against(item) for item in page["items"]] == [
        [("said" if plural == "denials" else "denied", 0, "computed")]
    ]
    assert {name: set(found) for name, found in page["included"].items()} == {
        "sources": {"mp", "publisher", "other"},
        "articles": {"paper"},
        "claims": {"said"},
        "denials": {"denied"},
    }


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("sort=value", "sort"),
        ("sort=relevance&q=x", "sort"),
        ("unit=person", "unit"),
        ("party_role=actor&family=denies", "party_role"),
        ("metric=killed&quantity_from=2&quantity_to=1", "quantity_to"),
        ("expand=figures", "expand"),
        ("count=exact", "count"),
        ("cursor=x", "cursor"),
    ],
)
async def test_what_can_not_be_asked_of_figures_is_refused(
    client: httpx.AsyncClient, query: str, parameter: str
) -> None:
    answer = await client.get(f"/v1/figures?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == parameter


# --- the computation by itself ---------------------------------------------------------------


def point(
    lower: float, upper: float, *, lower_open: bool = False, upper_open: bool = False
) -> Counted:
    at = datetime(2024, 12, 17, tzinfo=UTC)
    then = datetime(2024, 12, 18, tzinfo=UTC)
    return Counted(
        "claim", uuid4(), 0, "killed", "person", None, lower, upper, lower_open, upper_open,
        at, then,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two", "conflict"),
    [
        (point(1, 1), point(2, 2), True),
        (point(1, 1), point(1, 1), False),
        (point(1, 5), point(5, 9), False),
        (point(1, 5), point(5, 9, lower_open=True), True),
        (point(1, 5, upper_open=True), point(5, 9), True),
        (point(1, math.inf), point(-math.inf, 1), False),
        (point(1, math.inf, lower_open=True), point(-math.inf, 1), True),
    ],
)
def test_ranges_conflict_if_no_number_is_in_both(
    one: Counted, two: Counted, conflict: bool
) -> None:
    known = Known([one, two], [(one.id, two.id)], [], [])
    found = find_conflicts([one, two], known)
    assert [len(each.conflicts) for each in found] == [conflict] * 2
