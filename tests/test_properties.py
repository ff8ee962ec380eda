"""Laws that hold for any input: merge patch, reading back what was written, refusing the rest."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from api.core import cursor
from api.core.errors import CURSOR_MISMATCH, INVALID_CURSOR, Problem, invalid_record
from api.core.validation import check, merge_patch, read_object
from schemas.articles import Zone
from schemas.base import Part
from schemas.parts import Appearance, Quantity, Span, Time
from schemas.scalars import LARGEST
from schemas.shapes import fields, is_vocabulary, shape
from schemas.vocabularies import RecordType, SpanRole, ZoneKind
from schemas.walking import faults
from tests.conftest import swept
from tests.factories import EVERY, MERGE_PATCH, Noun
from tests.world import NEEDED_BY

Json = Any
each_noun = pytest.mark.parametrize("of", list(EVERY), ids=list(EVERY))


def bounded(examples: int) -> settings:
    """Make a run that is the same each time, and short."""
    return settings(
        derandomize=True,
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# --- JSON ------------------------------------------------------------------------------------

# Surrogates are no characters, and U+0000 is in no text that Postgres keeps.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
KEYS = st.sampled_from(["a", "b", "c", "", "é"]) | st.text(CHARACTERS, max_size=3)
SCALARS = st.none() | st.booleans() | st.integers(-9, 10**20) | st.text(CHARACTERS, max_size=5)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ANY_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


# --- merge patch (RFC 7396) ------------------------------------------------------------------

APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def by_the_rfc(target: Json, patch: Json) -> Json:
    """Apply a patch as the pseudocode of RFC 7396, section 2, does."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name in patch:
            if patch[name] is None:
                if name in target:
                    del target[name]
            else:
                target[name] = by_the_rfc(target.get(name), patch[name])
        return target
    return patch


def copied(value: Json) -> Json:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
def test_merge_patch_does_what_the_rfc_shows(target: Json, patch: Json, result: Json) -> None:
    assert merge_patch(target, patch) == result
    assert by_the_rfc(copied(target), patch) == result


@pytest.mark.long
@bounded(200)
@given(VALUES, VALUES)
def test_merge_patch_does_what_the_rfc_says(target: Json, patch: Json) -> None:
    before, wanted = copied((target, patch)), by_the_rfc(copied(target), copied(patch))
    assert merge_patch(target, patch) == wanted
    assert copied((target, patch)) == before


@pytest.mark.long
@bounded(100)
@given(VALUES, VALUES)
def test_merge_patch_twice_is_merge_patch_once(target: Json, patch: Json) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


# --- any valid record ------------------------------------------------------------------------

TEXT = "🌊 “At least 100” 👩‍👩‍👧 died é e\u0301.\nKim\u2028said so; nobody else did."
IDS = {
    of: [f"00000000-0000-4000-8000-{number:08}{place:04}" for place in range(3)]
    for number, of in enumerate(RecordType)
}
"""Three records of each type, for others to refer to; the articles have a text."""


@pytest.fixture(scope="module")
async def referred(client: httpx.AsyncClient) -> None:
    for of, noun in EVERY.items():
        text = {"text": TEXT} if of is RecordType.ARTICLE else {}
        for identity in IDS[of]:
            response = await client.put(
                f"{noun.path}/{identity}",
                json=noun.minimal(**text),
                headers={"if-none-match": "*"},
            )
            assert response.status_code == 201, response.text


def members(annotation: Any, limits: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield what a value may be, null aside: types, each with the constraints on it."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        for note in notes:
            if isinstance(note, Meta):
                limits = {
                    **limits,
                    **{n: v for n in _LIMITS if (v := getattr(note, n)) is not None},
                }
        yield from members(inner, limits)
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member, limits)
    elif annotation is not NoneType:
        yield annotation, limits


_LIMITS = ("min_length", "max_length", "pattern", "ge", "le")


@st.composite
def numbers(draw: st.DrawFn, lowest: int, highest: int) -> float:
    """Draw a number of at most fifteen significant digits."""
    if draw(st.booleans()):
        return draw(st.integers(lowest, highest))
    digits, places = draw(st.integers(-LARGEST, LARGEST)), draw(st.integers(0, 20))
    return min(max(float(f"{digits}e-{places}"), lowest), highest)


def texts(limits: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """Draw any text, or one of a pattern."""
    least, most = limits.get("min_length", 0), limits.get("max_length", 50)
    if "pattern" not in limits:
        return st.text(CHARACTERS, min_size=least, max_size=min(most, 50))
    pattern = re.compile(limits["pattern"])
    # The patterns of dates allow some that are on no calendar.
    dated = [drawn for example, drawn in DATED.items() if pattern.match(example)]
    if dated and least < len("2024-12-19"):
        return st.one_of(dated)
    return st.from_regex(pattern).filter(lambda text: least <= len(text) <= most)


@st.composite
def instants(draw: st.DrawFn) -> str:
    """Draw an instant, in whatever zone; not at the end of time, which UTC may move beyond it."""
    day = draw(st.dates(dt.date(1001, 1, 1), dt.date(2998, 12, 31)))
    clock = draw(st.times().map(lambda at: at.replace(microsecond=0).isoformat()))
    fraction = draw(st.just("") | st.integers(0, 999_999).map(lambda us: f".{us:06}".rstrip("0")))
    zone = draw(st.sampled_from(["Z", "+00:00", "-00:00", "+05:30", "-09:45", "+14:00", "-14:00"]))
    return f"{day}T{clock}{fraction.rstrip('.')}{zone}"


DATED = {
    "2024": st.integers(1001, 2998).map(str),
    "2024-12": st.dates(dt.date(1001, 1, 1), dt.date(2998, 12, 31)).map(lambda day: str(day)[:7]),
    "2024-12-19": st.dates(dt.date(1001, 1, 1), dt.date(2998, 12, 31)).map(str),
    "2024-12-19T10:00:00Z": instants(),
}
"""Dates of each precision, by an example of it."""


def anything(annotation: Any) -> st.SearchStrategy[Any]:
    """Draw a value of a field's type."""
    found = shape(annotation)
    (kind, limits), *others = members(annotation, {})
    drawn: st.SearchStrategy[Any]
    if found.many:
        least = limits.get("min_length", 0)
        drawn = st.lists(anything(*get_args(kind)), min_size=least, max_size=3)
    elif found.refers_to:
        drawn = st.sampled_from(IDS[found.refers_to])
    elif kind is bool:
        drawn = st.booleans()
    elif kind is str:
        drawn = texts(limits)
    elif kind is int:
        drawn = (numbers if others else st.integers)(limits["ge"], limits["le"])
    elif is_vocabulary(kind):
        drawn = st.sampled_from([term.value for term in kind])
    else:
        drawn = bodies(kind)
    return st.one_of(drawn, drawn, st.none()) if found.optional else drawn


Bodies = st.SearchStrategy[dict[str, Any]]
SPECIAL: dict[type[Struct], Bodies] = {}


def bodies(struct: type[Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a JSON object of a Struct: required fields, and some or all of the others."""
    if struct in SPECIAL:
        return SPECIAL[struct]
    required = {f.encode_name: anything(f.type) for f in fields(struct) if f.required}
    optional = {f.encode_name: anything(f.type) for f in fields(struct) if not f.required}
    some = st.fixed_dictionaries(required, optional=optional)
    return some | st.fixed_dictionaries(required | optional)


@st.composite
def spans(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a span of the text."""
    start = draw(st.integers(0, len(TEXT) - 1))
    end = draw(st.integers(start + 1, len(TEXT)))
    around = draw(st.integers(0, 5))
    before, behind = TEXT[max(start - around, 0) : start], TEXT[end : end + around]
    return {
        "start": start,
        "end": end,
        "exact": TEXT[start:end],
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "role": st.sampled_from([role.value for role in SpanRole]),
                    "prefix": st.just(before),
                    "suffix": st.just(behind),
                },
            )
        ),
    }


@st.composite
def figures(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a figure with what its qualifier needs."""
    drawn = {f.encode_name: draw(anything(f.type)) for f in fields(Quantity)}
    lower, upper = sorted(draw(numbers(-LARGEST, LARGEST)) for _ in range(2))
    given_ = {"value": lower, "lower": lower, "upper": upper, "term": "heavy"}
    needed = NEEDED_BY[drawn["qualifier"]]
    return drawn | {name: given_[name] if name in needed else None for name in given_}


@st.composite
def times(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a time whose bounds, if both are there, are in order."""
    drawn = {f.encode_name: draw(anything(f.type)) for f in fields(Time)}
    if drawn["earliest"] and drawn["latest"]:
        first, last = sorted((drawn["earliest"], drawn["latest"]), key=lambda b: (b[:4], len(b)))
        drawn |= {"earliest": first, "latest": last}
    return drawn


SPECIAL[Time] = times()
SPECIAL[Zone] = st.tuples(st.sampled_from(ZoneKind), st.integers(0, 2), st.integers(3, 5)).map(
    lambda zone: {"zone": zone[0].value, "start": zone[1], "end": zone[2]}
)
SPECIAL[Span] = spans()
SPECIAL[Quantity] = figures()
SPECIAL[Appearance] = st.fixed_dictionaries(
    {"article_id": st.sampled_from(IDS[RecordType.ARTICLE])},
    optional={
        f.encode_name: anything(f.type)
        for f in fields(Appearance)
        if f.name not in {"article_id", "article_version", "anchor"}
    }
    | {"article_version": st.sampled_from([None, 1]), "anchor": st.sampled_from([None, "exact"])},
)


def mended(noun: Noun, body: dict[str, Any]) -> dict[str, Any]:
    """Take out what breaks a rule between fields: the item that holds it, or the field."""
    while found := list(faults(msgspec.convert(body, noun.resource.create))):
        path, code, _ = found[-1]
        numbered = [place for place, step in enumerate(path) if isinstance(step, int)]
        if numbered:
            items: Any = body
            for step in path[: numbered[-1]]:
                items = items[step]
            del items[path[numbered[-1]]]
        if not numbered or not items:
            # What is missing may be in the least that makes a record; else what asks for it goes.
            given_then = numbered or (code == "required" and path[0] in noun.minimal())
            gone = {path[0], *(() if given_then else _RULING)}
            body = noun.minimal(**{key: body[key] for key in body if key not in gone})
    return body


_RULING = {"kind", "identification", "embedding"}
"""The fields that say which others there must be."""


_serial = count()


def valid(noun: Noun) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a body of a noun that breaks no rule."""
    return bodies(noun.resource.create).map(lambda body: mended(noun, body))


def expected(noun: Noun, body: dict[str, Any]) -> dict[str, Any]:
    """Write a record's content out, as the schema and the server fill it in."""
    record: dict[str, Any] = msgspec.to_builtins(msgspec.convert(body, noun.resource.create))
    for appearance in record.get("appearances", ()):
        appearance |= {"article_version": 1, "anchor": "exact"}
    if record.get("headline", "") is None:
        del record["headline"]  # it is derived; tests/test_articles.py looks at that
    return record


# Drawn before the test runs: to draw in a coroutine ends anyio's test runner.
any_record = given(
    drawn=st.sampled_from(list(EVERY.values())).flatmap(lambda n: st.tuples(st.just(n), valid(n)))
)


@pytest.mark.long
@bounded(12)
@any_record
@pytest.mark.usefixtures("referred")
async def test_some_records_are_read_back_as_they_were_written(
    client: httpx.AsyncClient, drawn: tuple[Noun, dict[str, Any]]
) -> None:
    await written_and_read_back(client, drawn)


@pytest.mark.sweep
@bounded(120)
@any_record
@pytest.mark.usefixtures("referred")
async def test_what_is_written_is_read_back(
    client: httpx.AsyncClient, drawn: tuple[Noun, dict[str, Any]]
) -> None:
    await written_and_read_back(client, drawn)


async def written_and_read_back(
    client: httpx.AsyncClient, drawn: tuple[Noun, dict[str, Any]]
) -> None:
    """Write a record, read it in every way, and send it back unchanged."""
    noun, body = drawn[0], copied(drawn[1])
    # What is unique is made so; the rest may be anything.
    number = next(_serial)
    for outside in body.get("external_ids", ()):
        outside["value"] = f"{number}{outside['value']}"[:400]
    if body.get("url"):
        body["url"] = f"https://example.org/{number}/{body['url'].partition('://')[2]}"[:2000]
    name = {"namespace": "any", "value": str(number)}
    by_name = f"{noun.path}/by-external-id"

    response = await client.put(by_name, params=name, json=body)
    assert response.status_code == 201, response.text
    written = response.json()
    wanted = expected(noun, body)
    wanted["external_ids"].append(name)
    assert {key: written[key] for key in wanted} == wanted

    path = f"{noun.path}/{written['id']}"
    whole = response.content
    assert (await client.get(path)).content == whole
    assert (await client.get(by_name, params=name)).content == whole
    listed = await client.get(noun.path, params={"id__in": written["id"]})
    assert listed.content.startswith(b'{"items":[' + whole + b"],")
    revision = await client.get(f"{path}/revisions/1")
    assert revision.content.endswith(b'"record":' + whole + b"}")
    assert (await client.get(path, params={"as_of": written["updated_at"]})).content == whole

    # Sent back as it was read, whole or as a patch, it changes nothing.
    again = await client.put(path, content=whole, headers={"if-match": "*"} | _JSON)
    assert (again.status_code, again.content) == (200, whole)
    again = await client.patch(path, content=whole, headers={"if-match": "*"} | MERGE_PATCH)
    assert (again.status_code, again.content) == (200, whole)


_JSON = {"content-type": "application/json"}


def inside(struct: type[Part]) -> Iterator[type[Part]]:
    """Yield the parts that a part may hold, at any depth."""
    for field in fields(struct):
        kind = shape(field.type).kind
        if isinstance(kind, type) and issubclass(kind, Part):
            yield from (kind, *inside(kind))


@pytest.mark.long
def test_what_is_drawn_reaches_every_field() -> None:
    """Hold the strategies to their purpose: a field never drawn would never be tested."""
    drawn_of: dict[type[Part], Bodies] = {
        noun.resource.create: valid(noun) for noun in EVERY.values()
    }
    parts = {part: bodies(part) for create in drawn_of for part in inside(create)}
    drawn_of.update(parts)
    # A fixed number of draws may miss a field: Hypothesis draws from constants of all our modules,
    # so that an edit elsewhere changes the draws. Each field is looked for until it comes.
    search = settings(bounded(2_000), phases=[Phase.generate])
    for struct, strategy in drawn_of.items():
        known = {field.encode_name for field in fields(struct)}
        missing = set(known)
        while missing:
            found = given_fields(
                find(strategy, lambda body: bool(given_fields(body) & missing), settings=search)  # noqa: B023 - called in this round
            )
            assert found <= known, struct
            missing -= found


def given_fields(body: dict[str, Any]) -> set[str]:
    """Name the fields of a body that say something."""
    return {name for name, value in body.items() if value not in (None, [])}


# --- anything else ---------------------------------------------------------------------------


def examine(noun: Noun, kind: type[Part], body: bytes) -> None:
    """Read a body as the service does, and see that it is a record or a problem in words."""
    problem: Problem | None = None
    try:
        document = read_object(body)
        record, broken = check(document, kind)
    except Problem as found:
        problem = found
    if problem is not None:
        assert problem.kind.status in {400, 422}
        msgspec.json.encode(problem.document(""))
        return
    assert (record is None) <= bool(broken), noun.type
    if broken:
        told = msgspec.json.encode(invalid_record(broken).document(""))
        assert len(msgspec.json.decode(told)["errors"]) == len(broken)


def kinds() -> Iterator[tuple[Noun, type[Part]]]:
    for noun in EVERY.values():
        yield noun, noun.resource.create
        yield noun, noun.resource.update


@pytest.mark.long
@bounded(200)
@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from('{}[]":,\\ue0dD81tfn-+.E '), max_size=40).map(str.encode)
)
def test_any_bytes_are_a_record_or_a_problem(body: bytes) -> None:
    for noun, kind in kinds():
        examine(noun, kind, body)


@pytest.mark.long
@bounded(200)
@given(st.dictionaries(st.text(max_size=9), ANY_VALUES), st.booleans())
def test_any_json_is_a_record_or_a_problem(document: dict[str, Json], escaped: bool) -> None:
    body = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    for noun, kind in kinds():
        examine(noun, kind, body)


@st.composite
def damaged(draw: st.DrawFn, noun: Noun) -> Json:
    """Draw a valid record with anything in one place of it."""
    body = copied(draw(bodies(noun.resource.create)))
    held: Any = body
    while True:
        steps = list(held) if isinstance(held, dict) else list(range(len(held)))
        if not steps:
            return body
        step = draw(st.sampled_from(steps))
        deeper = held[step]
        if not isinstance(deeper, dict | list) or not deeper or draw(st.booleans()):
            held[step] = draw(ANY_VALUES)
            return body
        held = deeper


@pytest.mark.long
@pytest.mark.parametrize("of", swept(EVERY, [RecordType.CLAIM], pytest.mark.newest))
@bounded(80)
@given(data=st.data())
def test_any_damaged_record_is_a_record_or_a_problem(of: RecordType, data: st.DataObject) -> None:
    noun = EVERY[of]
    body = json.dumps(data.draw(damaged(noun))).encode()
    examine(noun, noun.resource.create, body)
    examine(noun, noun.resource.update, body)


# --- cursors ---------------------------------------------------------------------------------

POSITIONS = st.lists(SCALARS, max_size=3)
LISTS = st.lists(SCALARS, min_size=1, max_size=3).map(lambda parts: cursor.fingerprint(*parts))


@pytest.mark.long
@bounded(200)
@given(LISTS, POSITIONS)
def test_a_cursor_is_read_as_it_was_written(of_list: bytes, position: list[Json]) -> None:
    written = cursor.write(of_list, position)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", written)
    assert cursor.read(written, of_list) == position


@pytest.mark.long
@bounded(300)
@given(LISTS, POSITIONS, st.data())
def test_a_cursor_that_was_changed_is_refused(
    of_list: bytes, position: list[Json], data: st.DataObject
) -> None:
    written = cursor.write(of_list, position)
    at = data.draw(st.integers(0, len(written) - 1))
    put = data.draw(st.sampled_from(["", "A", "-", "_", "=", "+", "é", " ", written[at] * 2]))
    changed = written[:at] + put + written[at + 1 :]
    if changed != written:
        with pytest.raises(Problem) as refused:
            cursor.read(changed, of_list)
        assert refused.value.kind is INVALID_CURSOR


@pytest.mark.long
@bounded(100)
@given(st.text(max_size=60), LISTS)
def test_any_text_is_no_cursor(text: str, of_list: bytes) -> None:
    with pytest.raises(Problem) as refused:
        cursor.read(text, of_list)
    assert refused.value.kind is INVALID_CURSOR


@pytest.mark.long
@bounded(100)
@given(LISTS, LISTS, POSITIONS)
def test_a_cursor_belongs_to_its_list(one: bytes, other: bytes, position: list[Json]) -> None:
    if one != other:
        with pytest.raises(Problem) as refused:
            cursor.read(cursor.write(one, position), other)
        assert refused.value.kind is CURSOR_MISMATCH
