"""The filters of all lists, each with what it says of a document.

`test_filters.py` has those that are asked together on one appearance, place or rating.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from api.core import near_first
from api.core.listing import forget_statements
from tests.callers import headers_of, readers
from tests.filter_world import invented_world
from tests.test_figure_list import bounds, folded
from tests.world import World

Record = dict[str, Any]
PLURALS: Final = ("sources", "articles", "claims", "denials")


@pytest.fixture(scope="module")
async def world(client: httpx.AsyncClient) -> World:
    """Make records of each type, some of them hidden."""
    return await invented_world(client)


# --- the oracle ----------------------------------------------------------------------------------


class Seen:
    """The records that a caller sees."""

    def __init__(self, records: Mapping[str, list[Record]]) -> None:
        self.records = records

    def responses(self, record: Record) -> list[tuple[Record, str]]:
        """Give the standing responses to a record, with how clearly each is aimed at it."""
        return [
            (denial, target["coverage"])
            for denial in self.records["denials"]
            for target in denial["targets"]
            if denial["validity"] == "standing"
            and record["id"] in (target["claim_id"], target["denial_id"])
        ]

    def relations(self, record: Record, plural: str, key: str) -> list[tuple[str, str]]:
        """Give what a record is related to, whichever of the two says so, and how."""
        own = [(each[key], each["kind"]) for each in record["relations"]]
        others = [
            (other["id"], each["kind"])
            for other in self.records[plural]
            for each in other["relations"]
            if each[key] == record["id"]
        ]
        return [*own, *others]

    def groups(self, source: str) -> set[str]:
        """Give a source, and the groups to which it belongs, also through other groups."""
        found, waiting = set[str](), {source}
        while waiting:
            found.add(member := waiting.pop())
            waiting |= {
                group["id"]
                for group in self.records["sources"]
                if any(each["source_id"] == member for each in group["members"])
            } - found
        return found


Says = Callable[[Seen, Record, str], bool]
"""Tells whether a record is found with a value; several values are separated by commas."""
Values = tuple[str, ...] | Callable[[Sequence[Record]], tuple[str, ...]]
"""The values that are asked for, or what gives them for the records of the list."""
DAYS: Final = ("2024-12-09", "2024-12-10", "2024-12-11", "2024-12-12", "2024-12-13")


def equal(name: str) -> Says:
    return lambda _, record, value: bool(record[name] == value)


def one_of(name: str) -> Says:
    return lambda _, record, value: record[name] in value.split(",")


def none_of(name: str) -> Says:
    return lambda _, record, value: record[name] not in value.split(",")


def speaks(_: Seen, record: Record, value: str) -> bool:
    return f"{record['language']}-".startswith(f"{value}-")


def hop(which: Callable[[Record, int], bool], name: str = "source_id") -> Says:
    """Say that one hop, told by its position and the last one, names a source."""

    def says(_: Seen, record: Record, value: str) -> bool:
        last = max((each["position"] for each in record["attributions"]), default=0)
        return any(each[name] == value and which(each, last) for each in record["attributions"])

    return says


def named(seen: Seen, record: Record, value: str) -> bool:
    """Say that a hop names a source, in whatever part, or a group that it belongs to."""
    groups = seen.groups(value)
    parts = ("source_id", "via_id", "audience_id")
    return any(each[part] in groups for each in record["attributions"] for part in parts)


def figure(which: Callable[[Record, str], bool]) -> Says:
    """Say that a figure of the dead is so."""
    return lambda _, record, value: any(
        each["metric"] == "killed" and which(each, value) for each in record["quantities"]
    )


def within(each: Record, value: str) -> bool:
    """Tell whether a figure may be a number."""
    its, number = bounds(each), float(value)
    if its is None:
        return False
    lower, upper, lower_open, upper_open = its
    above = lower < number or (lower == number and not lower_open)
    return above and (upper > number or (upper == number and not upper_open))


def target(which: Callable[[Record, str], bool]) -> Says:
    return lambda _, record, value: any(which(each, value) for each in record["targets"])


def response(which: Callable[[Record, str, str], bool]) -> Says:
    return lambda seen, record, value: any(
        which(denial, coverage, value) for denial, coverage in seen.responses(record)
    )


def no_response(which: Callable[[Record, str], bool]) -> Says:
    return lambda seen, record, value: (
        not any(which(denial, value) for denial, _ in seen.responses(record))
    )


def loudly(seen: Seen, record: Record, value: str) -> bool:
    heard = any(denial["family"] != "silent" for denial, _ in seen.responses(record))
    return heard == (value == "true")


def related(plural: str, key: str) -> Says:
    return lambda seen, record, value: value in dict(seen.relations(record, plural, key))


def may_be(name: str, compare: Callable[[str, str, str], bool]) -> Says:
    """Say that a time may lie so to a day; its own days are its bounds."""
    return lambda _, record, day: (
        bool(record[name]) and compare(record[name]["earliest"], record[name]["latest"], day)
    )


def timed(name: str) -> dict[str, tuple[Says, Values]]:
    """Give what is said by the four bounds of a time."""
    return {
        f"{name}__gt": (may_be(name, lambda _, latest, day: latest > day), DAYS),
        f"{name}__gte": (may_be(name, lambda _, latest, day: latest >= day), DAYS),
        f"{name}__lt": (may_be(name, lambda earliest, _, day: earliest < day), DAYS),
        f"{name}__lte": (may_be(name, lambda earliest, _, day: earliest <= day), DAYS),
    }


def has_word(texts: Sequence[str], value: str) -> bool:
    """Tell whether one of the texts has all the words."""
    return any(set(value.split()) <= set(text.lower().split()) for text in texts)


def searched(name: str) -> dict[str, tuple[Says, Values]]:
    """Give what is said by a search in a text."""
    words = ("office", "burns", "office burns", "absent")
    return {"q": (lambda _, record, value: has_word([record[name]], value), words)}


def called(record: Record) -> list[str]:
    return [record["name"], *(each["name"] for each in record["names"])]


def _instant(name: str, holds: Callable[[str, str], bool]) -> Says:
    return lambda _, record, value: holds(record[name], value)


def _moments(name: str) -> Callable[[Sequence[Record]], tuple[str, ...]]:
    """Give some of the instants that the records have."""
    return lambda records: tuple(sorted(each[name] for each in records)[1::5])


EVERYWHERE: Final[dict[str, tuple[Says, Values]]] = {
    "id__in": (lambda _, r, v: r["id"] in v.split(","), _moments("id")),
    "external_namespace": (
        lambda _, r, v: any(each["namespace"] == v for each in r["external_ids"]),
        ("{tag}-1", "{tag}-2", "{tag}-3"),
    ),
    "external_namespace={tag}-1&external_value": (
        lambda _, r, v: any(
            each["namespace"].endswith("-1") and each["value"] == v for each in r["external_ids"]
        ),
        ("1", "4", "5"),
    ),
    **{
        f"{name}__{op}": (_instant(name, holds), _moments(name))
        for name in ("created_at", "updated_at")
        for op, holds in (
            ("gt", operator.gt),
            ("gte", operator.ge),
            ("lt", operator.lt),
            ("lte", operator.le),
        )
    },
}
FAMILIES: Final = ("denies", "silent", "deflects", "supports", "denies,silent")
NUMBERS: Final = ("10", "20", "20.5", "25", "30", "31")
SOURCES: Final = tuple(f"@s{number}" for number in range(8))
CLAIMS: Final = tuple(f"@c{number}" for number in range(0, 40, 3))
STATEMENTS: Final[dict[str, tuple[Says, Values]]] = {
    "language": (speaks, ("en", "en-GB", "ko")),
    "validity": (equal("validity"), ("standing", "superseded")),
    "review_status__in": (one_of("review_status"), ("draft", "draft,published")),
    "review_status__nin": (none_of("review_status"), ("draft", "draft,published")),
    "source_id": (named, SOURCES),
    "metric=killed&unit": (figure(lambda f, v: folded(f["unit"]) == folded(v)), ("PERSON", "x")),
    "metric=killed&quantity_from": (
        figure(lambda f, v: any(within(f, n) for n in (*NUMBERS, "1e9") if float(n) >= float(v))),
        NUMBERS,
    ),
    "metric=killed&quantity_to": (
        figure(lambda f, v: any(within(f, n) for n in (*NUMBERS, "-9") if float(n) <= float(v))),
        NUMBERS,
    ),
    **timed("stated"),
    **searched("text"),
    "response_family": (response(lambda d, _, v: d["family"] == v), FAMILIES[:-1]),
    "response_family__in": (response(lambda d, _, v: d["family"] in v.split(",")), FAMILIES),
    "response_kind": (response(lambda d, _, v: d["kind"] == v), ("full_denial", "omission")),
    "response_coverage": (response(lambda _, c, v: c == v), ("explicit", "inferred")),
    "without_response_family": (no_response(lambda d, v: d["family"] == v), FAMILIES[:-1]),
    "without_response_family__in": (
        no_response(lambda d, v: d["family"] in v.split(",")),
        FAMILIES,
    ),
    "responded": (loudly, ("true", "false")),
}
TABLE: Final[dict[str, dict[str, tuple[Says, Values]]]] = {
    "sources": {
        **EVERYWHERE,
        "name": (
            lambda _, r, v: has_word(called(r), v),
            ("kim", "lee kim", "park", "absent"),
        ),
        "name__startswith": (
            lambda _, r, v: any(each.lower().startswith(v.lower()) for each in called(r)),
            ("KIM", "lee", "kim l", "e"),
        ),
        "kind": (equal("kind"), ("person", "state")),
        "kind__nin": (none_of("kind"), ("person", "person,state")),
        "confidentiality__in": (one_of("confidentiality"), ("public", "internal,restricted")),
        "country_code": (equal("country_code"), ("KR", "US")),
        "parent_id": (equal("parent_id"), SOURCES),
        "member_id": (lambda _, r, v: any(m["source_id"] == v for m in r["members"]), SOURCES),
        "related_to": (related("sources", "source_id"), SOURCES),
    },
    "articles": {
        **EVERYWHERE,
        **timed("published"),
        **searched("headline"),
        "url": (
            equal("url"),
            (
                "https://paper.example/{tag}/0",
                "https://paper.example/{tag}/1",
                "https://x.example/",
            ),
        ),
        "language": (speaks, ("en", "en-GB", "ko")),
        "status__in": (one_of("status"), ("withheld", "usable")),
        "publisher_id": (equal("publisher_id"), SOURCES),
        "credit_id": (lambda _, r, v: any(c["source_id"] == v for c in r["credits"]), SOURCES),
        "credit_role=wire&credit_id": (
            lambda _, r, v: any((c["source_id"], c["role"]) == (v, "wire") for c in r["credits"]),
            SOURCES,
        ),
    },
    "claims": {
        **EVERYWHERE,
        **STATEMENTS,
        **timed("occurred"),
        "kind__in": (one_of("kind"), ("event", "event,quantity")),
        "certainty": (equal("certainty"), ("probable", "certain")),
        "polarity": (equal("polarity"), ("positive", "negative")),
        "claimant_id": (hop(lambda each, _: each["position"] == 0), SOURCES),
        "origin_id": (hop(lambda each, last: each["position"] == last), SOURCES),
        "via_id": (hop(lambda *_: True, "via_id"), SOURCES),
        "attributed": (
            lambda _, r, v: any(each["source_id"] for each in r["attributions"]) == (v == "true"),
            ("true", "false"),
        ),
        "parent_claim_id": (equal("parent_claim_id"), CLAIMS),
        "party_id": (lambda _, r, v: any(p["source_id"] == v for p in r["parties"]), SOURCES),
        "party_role=victim&party_id": (
            lambda _, r, v: any((p["source_id"], p["role"]) == (v, "victim") for p in r["parties"]),
            SOURCES,
        ),
        "related_to": (related("claims", "claim_id"), CLAIMS),
        "relation_kind=restates&related_to": (
            lambda seen, r, v: (v, "restates") in seen.relations(r, "claims", "claim_id"),
            CLAIMS,
        ),
    },
    "denials": {
        **EVERYWHERE,
        **STATEMENTS,
        "kind__in": (one_of("kind"), ("apology", "apology,omission")),
        "family": (equal("family"), ("denies", "silent")),
        "family__nin": (none_of("family"), ("denies", "silent,denies")),
        "responder_id": (hop(lambda each, _: each["position"] == 0), SOURCES),
        "scope_source_id": (equal("scope_source_id"), SOURCES),
        "claim_id": (target(lambda t, v: t["claim_id"] == v), CLAIMS),
        "coverage=explicit&claim_id": (
            target(lambda t, v: (t["claim_id"], t["coverage"]) == (v, "explicit")),
            CLAIMS,
        ),
        "denial_id": (target(lambda t, v: t["denial_id"] == v), tuple(f"@d{n}" for n in range(39))),
        "target_article_id": (
            target(lambda t, v: t["article_id"] == v),
            tuple(f"@a{n}" for n in range(12)),
        ),
        "text_target": (target(lambda t, v: bool(t["text"]) == (v == "true")), ("true", "false")),
        "coverage": (target(lambda t, v: t["coverage"] == v), ("explicit", "inferred")),
    },
}


WAYS: Final = {
    "looking up": (near_first.MANY, near_first.NEAR, 200),
    "going through": (0, near_first.NEAR, 10),
    "both": (0, 15, 10),
}
"""From what size a set is large, how many are gone through to fill a page, and how long that is."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Read pages of a set in one of the ways in which they may be read; give their length."""
    many, near, limit = WAYS[request.param]
    monkeypatch.setattr(near_first, "MANY", many)
    monkeypatch.setattr(near_first, "NEAR", near)
    forget_statements()
    yield limit
    forget_statements()


@pytest.mark.parametrize("reader", readers())
@pytest.mark.parametrize("plural", PLURALS)
async def test_each_filter_finds_what_the_documents_say(
    world: World, database_url: str, plural: str, reader: str, way: int
) -> None:
    headers = await headers_of(reader, database_url)

    async def listed(plural: str, query: str = "") -> list[Record]:
        found: list[Record] = []
        cursor = ""
        while True:
            path = f"/v1/{plural}?tag={world.tag}&limit={way}{query}{cursor}"
            answer = await world.client.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    seen = Seen({each: await listed(each) for each in PLURALS})
    for name, (says, values) in TABLE[plural].items():
        numbers = set()
        records = seen.records[plural]
        asked_for = values(records) if callable(values) else values
        for value in map(world.resolved, (each.replace("{tag}", world.tag) for each in asked_for)):
            expected = [each["id"] for each in records if says(seen, each, value)]
            key = name.replace("{tag}", world.tag)
            asked = "".join(f"&{key}={quote(each)}" for each in value.split(","))
            found = await listed(plural, asked)
            assert [each["id"] for each in found] == expected, world.named([name, value])
            numbers.add(len(found))
        if reader == "everybody":
            assert numbers - {0, len(seen.records[plural])}, f"{name} is not tried"
