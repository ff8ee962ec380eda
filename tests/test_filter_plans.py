"""How many rows Postgres reads for each filter of each list that finds none of many records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest

from api.core import near_first
from api.core.db import Connection
from api.core.filters import Filter, Parameter
from api.core.listing import forget_statements
from api.core.resource import Resource
from api.records.nouns import RESOURCES
from schemas.shapes import is_vocabulary, shape
from tests.conftest import KEY, bearer
from tests.test_plans import Watched, nodes, rows_in, watching

pytestmark = pytest.mark.long  # to fill its database takes seconds

MANY: Final = 2_000
FEW: Final = 400
"""More rows than one of these lists has to read, and far fewer than there are."""

_TIME: Final = '{"earliest": "2024-12-16", "latest": "2024-12-17", "precision": "day"}'
# The records of a number belong together, so that no two claims share a source or an article.
_EACH: Final = (
    f"FROM generate_series(1, {MANY}) AS n,"
    " LATERAL (SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid) AS its(id)"
)
_PRINTED: Final = """json_build_array(json_build_object(
            'article_id', its.id, 'quote_type', 'indirect', 'stance', 'neutral',
            'anchor', 'exact', 'spans', '[]'::json
        ))"""
_CHAIN: Final = "json_build_array(json_build_object('source_id', its.id))"
_PLACES: Final = """[{"role": "event", "name": "Kursk", "country_code": "RU",
    "latitude": 51.7, "longitude": 36.2}]"""
_RATINGS: Final = '[{"assessor": "A", "scheme": "S", "label": "True"}]'
_FIGURES: Final = (
    '[{"metric": "killed", "unit": "person", "population": "soldiers", "qualifier": "exact",'
    ' "value": 100}]'
)
_RECORDS: Final = (
    f"""
    INSERT INTO sources (id, kind, identification, name, country_code)
    SELECT its.id, 'person', 'named', 'Kim Lee', 'KR' {_EACH}""",
    f"""
    INSERT INTO articles (id, headline, language, published, status, publisher_id)
    SELECT its.id, 'Here', 'en-GB', '{_TIME}', 'usable', its.id {_EACH}""",
    f"""
    INSERT INTO claims (
        id, text, language, kind, speech_act, attributions, appearances, places, assessments,
        quantities, stated, occurred, review_status, validity
    )
    SELECT its.id, 'It is so', 'en-GB', 'event', 'claim', {_CHAIN}, {_PRINTED},
        '{_PLACES}', '{_RATINGS}', '{_FIGURES}', '{_TIME}', '{_TIME}', 'published', 'standing'
    {_EACH}""",
    f"""
    INSERT INTO denials (
        id, text, kind, observed_by, targets, attributions, appearances, quantities,
        language, stated, review_status, validity
    )
    SELECT its.id, 'No', 'did_not_respond', 'responder_statement',
        json_build_array(
            json_build_object('claim_id', its.id, 'coverage', 'explicit'),
            json_build_object('article_id', its.id, 'coverage', 'explicit')
        ),
        {_CHAIN}, {_PRINTED}, '{_FIGURES}', 'en-GB', '{_TIME}', 'published', 'standing' {_EACH}""",
    f"""
    INSERT INTO audit (key_id, record_type, record_id, version, op)
    SELECT 'k' || n, 'claim', its.id, 1, 'created' {_EACH}""",
)


@pytest.fixture(scope="module")
async def watched(template: str) -> AsyncIterator[Watched]:
    """Serve a database with many records of each type; each has something of everything."""
    async with watching(template, _fill) as found:
        yield found


async def _fill(connection: Connection) -> None:
    for statement in _RECORDS:
        await connection.execute(statement)


NOBODY: Final = "01938f7a-4c00-7000-8000-0000000000ff"
NEVER: Final = {"gt": "2099-01-01", "gte": "2099-01-01", "lt": "1999-01-01", "lte": "1999-01-01"}
COMMON: Final = [
    "event",
    "person",
    "usable",
    "explicit",
    "indirect",
    "neutral",
    "exact",
    "silent",
    "responder_statement",
    "did_not_respond",
    "unspecified",
    "positive",
    "asserted",
    "claim",
    "standing",
    "published",
    "named",
    "public",
]
"""The terms that all the records have."""
VALUES: Final = {
    "attributed": "false",
    "bbox": "0,0,1,1",
    "country_code": "US",
    "credited": "false",
    "language": "xx",
    "metric": "lost",
    "place_country_code": "US",
    "quantity_from": "5",
    "quantity_to": "0",
    "responded": "true",
    "text_target": "true",
    "url": "https://x.example/",
}
READ_ALL: Final = {"without_response_family", "without_response_family__in"}
"""Filters that no index can serve: what records lack is in none."""
FILTERS: Final = [
    (resource, each, parameter)
    for resource in RESOURCES.values()
    for each in resource.all_filters
    for parameter in each.parameters
    if parameter.name not in READ_ALL
]


def question(parameter: Parameter) -> str:
    """Ask for what no record has, or almost none."""
    op = parameter.name.partition("__")[2]
    kind = shape(parameter.type).kind
    if parameter.name in VALUES:
        value = VALUES[parameter.name]
    elif op in NEVER:
        value = NEVER[op]
    elif is_vocabulary(kind):
        value = next(each for each in kind if (each.value in COMMON) is (op == "nin"))
    elif parameter.name.endswith(("_id", "_to", "id__in")):
        value = NOBODY
    else:
        value = "absent"
    return f"{parameter.name}={value}"


@pytest.mark.parametrize(
    ("resource", "each", "parameter"),
    FILTERS,
    ids=[f"{resource.plural}-{parameter.name}" for resource, _, parameter in FILTERS],
)
async def test_a_filter_that_finds_little_reads_little(
    watched: Watched, resource: Resource, each: Filter, parameter: Parameter
) -> None:
    asked = [question(parameter)]
    if each.needs not in (None, parameter.name):
        asked += [question(p) for p in each.parameters if p.name == each.needs]
    for more in ("", "&count=exact"):
        assert await watched.rows_read(f"{resource.path}?{'&'.join(asked)}{more}") < FEW


@pytest.mark.parametrize(
    "asked", ["language=EN", "responded=false", "without_response_family=denies"]
)
async def test_a_filter_that_finds_everything_reads_a_page(watched: Watched, asked: str) -> None:
    assert await watched.rows_read(f"/v1/claims?{asked}") < FEW


@pytest.mark.parametrize(
    "asked",
    [
        "claims?response_family=silent",
        "claims?response_kind=did_not_respond&response_coverage=explicit",
        "claims?quote_type=indirect&sort=-stated",
        "claims?metric=killed&sort=updated_at",
        "claims?place_country_code=RU&assessor=A",
        "claims?quote_type=indirect&response_family=silent&kind=event",
        "denials?coverage=explicit",
    ],
)
@pytest.mark.parametrize(("many", "least", "most"), [(20, 0, FEW), (MANY, MANY, 100 * MANY)])
async def test_a_page_of_sets_that_have_many_is_found_near_its_begin(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    many: int,
    least: int,
    most: int,
) -> None:
    """And is looked up as a whole if that is not too many."""
    monkeypatch.setattr(near_first, "MANY", many)
    forget_statements()
    assert least <= await watched.rows_read(f"/v1/{asked}") < most
    forget_statements()


async def test_of_two_sets_the_small_one_is_looked_up(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_first, "MANY", 20)
    forget_statements()
    for asked in (f"article_id={_ONE}&quote_type=indirect", f"party_id={NOBODY}", f"via_id={_ONE}"):
        assert await watched.rows_read(f"/v1/claims?response_family=silent&{asked}") < FEW
    forget_statements()


_ONE: Final = "00000000-0000-4000-8000-000000000007"


@pytest.mark.parametrize(
    ("asked", "table"),
    [
        (f"audit?record_id={_ONE}", "audit"),
        (f"audit?record_id={NOBODY}", "audit"),
        ("audit?key_id=unknownreads", "audit"),
        (f"claims/{_ONE}/revisions", "revisions"),
        (f"articles/{_ONE}/revisions", "revisions"),
        (f"articles/{_ONE}/anchors", "articles"),
        (f"sources/{_ONE}/identities", "source_identities"),
    ],
)
async def test_a_page_of_one_record_reads_nothing_of_the_others(
    watched: Watched, asked: str, table: str
) -> None:
    plans = await watched.plans(f"/v1/{asked}", f"FROM {table}", **bearer(KEY))
    assert plans
    assert sum(map(rows_in, plans)) < FEW


async def test_a_page_that_is_not_full_is_counted_without_counting(watched: Watched) -> None:
    ids = "&".join(f"id__in=00000000-0000-4000-8000-{number:012}" for number in range(1, 41))
    read = await watched.rows_read(f"/v1/claims?{ids}")
    assert 40 <= read < FEW
    assert await watched.rows_read(f"/v1/claims?{ids}&count=exact") == read


async def test_groups_by_responses_read_the_links_in_an_index(watched: Watched) -> None:
    plans = await watched.plans("/v1/claims/groups?by=response_family")
    scans = [each["Node Type"] for plan in plans for each in nodes(plan, "Relation Name", "links")]
    assert scans == ["Index Only Scan"]
