"""What the service refuses, how, and that a refusal leaves no trace.

Unreadable is 400, readable but against the schema 422; always problem+json, never 5xx. What was
accepted is read back as it was sent.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.inspect import (
    ListType,
    Metadata,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)

from api.core import cursor, json_pieces, json_text
from api.core.errors import FAULT_CODES, KINDS, Problem
from api.core.json_text import read_json
from api.core.resource import Resource
from api.core.validation import check, read_object
from api.records.nouns import RESOURCES
from schemas.parts import MAX_SPANS, Appearance, Span
from schemas.shapes import fields, shape
from schemas.vocabularies import RecordType
from tests.factories import (
    EVERY,
    JSON,
    MERGE_PATCH,
    TEXT,
    Body,
    Client,
    Connection,
    Ids,
    Noun,
    Stored,
    content,
    count_rows,
    create,
    unique,
)

ARTICLE, CLAIM = EVERY[RecordType.ARTICLE], EVERY[RecordType.CLAIM]
DENIAL, SOURCE = EVERY[RecordType.DENIAL], EVERY[RecordType.SOURCE]


@pytest.fixture
async def untouched(ids: Ids, connection: Connection) -> AsyncIterator[None]:
    """Hold a test to leaving every table as it was: records, revisions, outbox and all."""
    assert ids
    before = await count_rows(connection)
    yield
    assert await count_rows(connection) == before


def problem(response: httpx.Response, status: int, code: str) -> Body:
    """Read a problem of which nothing is known but its status and its code."""
    assert (response.status_code, response.json()["code"]) == (status, code), response.text[:1_000]
    assert response.headers["content-type"] == "application/problem+json"
    body: Body = response.json()
    assert int(KINDS[code].status) == status
    for error in body["errors"]:
        assert error["detail"]
        assert ("pointer" in error) != ("parameter" in error)
        assert error["code"] in {*FAULT_CODES, *KINDS}
    return body


def faults(response: httpx.Response, code: str = "invalid-record") -> list[tuple[str, str]]:
    """Read which places of a body a problem points at, and why, in one order."""
    errors = problem(response, 422, code)["errors"]
    return sorted((error["pointer"], error["code"]) for error in errors)


async def posted(client: Client, noun: Noun, body: bytes | Body) -> httpx.Response:
    """Send a body as it is."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(noun.path, content=raw, headers=JSON)


# --- JSON that is not JSON (after JSONTestSuite's n_ cases) ----------------------------------

MALFORMED = [
    b"",
    b" ",
    b"\xef\xbb\xbf{}",
    b"{",
    b"}",
    b"{]",
    b"[",
    b"]",
    b"[1,]",
    b"[,1]",
    b"[1,,2]",
    b"[1 2]",
    b"[1:2]",
    b"[1",
    b'["a',
    b'["a"',
    b"{}{}",
    b"{} x",
    b"{}#",
    b"{}/**/",
    b'{"a"}',
    b'{"a":}',
    b'{"a" 1}',
    b'{"a":1,}',
    b'{,"a":1}',
    b'{"a":1 "b":2}',
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b'{"a":1,"b"',
    b'{"a":"',
    b"nul",
    b"True",
    b"tru",
    b"undefined",
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":+1}',
    b'{"a":01}',
    b'{"a":1.}',
    b'{"a":.5}',
    b'{"a":1e}',
    b'{"a":1e+}',
    b'{"a":0x1}',
    b'{"a":-}',
    b'{"a":1_000}',
    '{"a":\uff11}'.encode(),
    '{"a":٣}'.encode(),
    b'{"a":"\t"}',
    b'{"a":"\n"}',
    b'{"a":"\x00"}',
    b'{"a":"\\x41"}',
    b'{"a":"\\u12"}',
    b'{"a":"\\u00g0"}',
    b'{"a":"\\"}',
    b'{"a":"\\\n"}',
    b"\x00",
    b"{}\x00",
    b"\x0c{}",
    "\u00a0{}".encode(),
    "{“a”:1}".encode(),
    b'{"a":"\xff"}',
    b'{"a":"\xc0\xaf"}',
    b'{"a":"\xe2\x82"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}',
    b'{"\xff":1}',
    '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-16-le"),
    b'{"a":"\\ud800"}',
    b'{"a":"\\udc00"}',
    b'{"a":"\\ud800x"}',
    b'{"a":"\\udc00\\ud800"}',
    b'{"a":"\\ud800\\ud800"}',
    b'{"a":["\\uDBFF"]}',
    b'{"\\ud800":1}',
    b'{"a":1,"a":1}',
    b'{"a":1,"\\u0061":2}',
    b'{"":1,"":2}',
    b'{"a":{"b":1,"b":1}}',
    b'{"a":[{"b":{"c":1,"d":2,"c":3}}]}',
]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_not_json_is_400(client: Client, body: bytes) -> None:
    assert problem(await posted(client, CLAIM, body), 400, "malformed-json")["errors"] == []


WAYS = ["POST", "PUT", "PATCH", "upsert"]


async def written(
    client: Client, noun: Noun, way: str, identity: str, body: bytes, **headers: str
) -> httpx.Response:
    """Send a body to one of the operations that read one."""
    given = {"if-match": "*"} | (MERGE_PATCH if way == "PATCH" else JSON) | headers
    match way:
        case "POST":
            return await client.post(noun.path, content=body, headers=given)
        case "upsert":
            query = {"namespace": "input", "value": unique()}
            del given["if-match"]
            path = f"{noun.path}/by-external-id"
            return await client.put(path, params=query, content=body, headers=given)
        case _:
            path = f"{noun.path}/{identity}"
            return await client.request(way, path, content=body, headers=given)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("way", WAYS)
async def test_every_operation_reads_its_body_strictly(
    client: Client, noun: Noun, ids: Ids, way: str
) -> None:
    identity = ids[noun.type]
    for body, status, code in (
        (b"{", 400, "malformed-json"),
        (b'{"note":"a","note":"b"}', 400, "malformed-json"),
        (b'{"note":"\\ud800"}', 400, "malformed-json"),
        (b'{"note":' + b"[" * 33 + b"]" * 33 + b"}", 400, "too-deep"),
        (b'{"note":"\\u0000"}', 422, "invalid-record"),
        (b'{"note":1e999}', 422, "invalid-record"),
        (b'{"note":1}', 422, "invalid-record"),
        (b'{"nothing":1}', 422, "invalid-record"),
        (b"[]", 422, "invalid-record"),
        (b'"text"', 422, "invalid-record"),
        (b"null", 422, "invalid-record"),
        (b"1", 422, "invalid-record"),
    ):
        problem(await written(client, noun, way, identity, body), status, code)


# --- text ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
async def test_nul_is_refused_wherever_it_stands(client: Client, ids: Ids) -> None:
    hop = {"source_id": ids[RecordType.SOURCE], "cue": "a\0b"}
    body = CLAIM.minimal(text="\0", tags=["ok", "\0"], attributions=[hop])
    expected = [("/attributions/0/cue", "invalid-text"), ("/tags/1", "invalid-text")]
    assert faults(await posted(client, CLAIM, body)) == [*expected, ("/text", "invalid-text")]
    found = faults(await posted(client, CLAIM, CLAIM.minimal(**{"a\0": 1})))
    assert found == [("/a\0", "invalid-text")]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("escape", ["%00", "%ff", "%c0%af", "%ed%a0%80"])
async def test_paths_and_queries_are_utf_8_without_nul(
    client: Client, noun: Noun, escape: str
) -> None:
    problem(await client.get(f"{noun.path}/{escape}"), 400, "invalid-path")
    problem(await client.options(f"{noun.path}/{escape}"), 400, "invalid-path")
    for query in (f"q=a{escape}", f"tag={escape}"):
        (error,) = problem(await client.get(f"{noun.path}?{query}"), 400, "invalid-parameter")[
            "errors"
        ]
        assert error["parameter"] == query.partition("=")[0]
    response = await client.get(f"{noun.path}?{escape}=1")
    assert response.status_code == 400
    path = f"{noun.path}/by-external-id?namespace=a&value={escape}"
    problem(await client.put(path, json=noun.minimal()), 400, "invalid-parameter")


NAUGHTY = [
    "undefined",
    "null",
    "NaN",
    "true",
    "0",
    "-0",
    "1e999",
    "\\",
    "\\N",
    "\\\\.",
    '"',
    "'",
    "''",
    "`",
    "$$",
    "$1",
    "%s%d%n",
    "%00",
    "{0}{name}",
    "${jndi:ldap://x}",
    "{{7*7}}",
    ":note",
    "::text",
    "(a,b)",
    "{a,b}",
    '{"a":1}',
    "[1]",
    "--",
    "/* */",
    "'; DROP TABLE claims; --",
    "1 OR 1=1",
    "_%_",
    "*",
    "a & b | !c <-> d:*",
    '"unfinished or -',
    "<script>alert(1)</script>",
    "</title><!--",
    "\t",
    " ",
    "  leading and trailing  ",
    "line\nfeed",
    "carriage\r\nreturn",
    "\x01\x02\x08\x0b\x0c\x1b[31m\x7f",
    "\x80\x9f\u00ad",
    "\u200b\u200d\u2060\ufeff",
    "\u2028\u2029",
    "\u202eright to left\u202c",
    "\ufffd",
    "\ufffe\uffff\U0010ffff",
    "é",
    "e\u0301",
    "ﬁ",
    "İıſß",
    "العربية",
    "עברית",
    "日本語",
    "한국어",
    "ក្រុង",
    "Z̷̢̛a̴l̵g̶o̷",
    "😀",
    "👩‍👩‍👧‍👦",
    "🇰🇷",
    "🏳️‍🌈",
    "\U0001d4b3\U0001d518",
    "𠜎𠜱",
    "x" * 100,
]


def everywhere(kind: Type, value: Any, text: str) -> Any:
    """Put a text wherever a value of a type holds free text."""
    while isinstance(kind, Metadata):
        kind = kind.type
    if isinstance(kind, UnionType):
        if value is None:
            return None
        return everywhere(kind.types[0], value, text)
    if isinstance(kind, ListType):
        return [everywhere(kind.item_type, item, text) for item in value]
    if isinstance(kind, StructType):
        inner = {field.encode_name: field.type for field in kind.fields}
        return {name: everywhere(inner[name], item, text) for name, item in value.items()}
    free = isinstance(kind, StrType) and kind.pattern is None
    return text if free else value


@pytest.mark.long
async def test_naughty_strings_come_back_as_they_were_sent(
    client: Client, noun: Noun, ids: Ids
) -> None:
    kind = type_info(noun.resource.create)
    for text in NAUGHTY:
        full = everywhere(kind, noun.full(ids), text) | {"tags": [text]}
        if "appearances" in full:
            full["appearances"] = [{**each, "spans": []} for each in full["appearances"]]
        if "zones" in full:
            full["zones"] = []
        record = await create(client, noun, full)
        assert content(noun, record.record) == full
        await read_everywhere(client, noun, record, text)


async def read_everywhere(client: Client, noun: Noun, record: Stored, text: str) -> None:
    """Read a record through every path, looking for it by the text that it holds."""
    assert (await client.get(record.path)).json() == record.record
    response = await client.get(f"{record.path}/revisions/1")
    assert response.json()["record"] == record.record
    query = {"namespace": text, "value": text}
    response = await client.get(f"{noun.path}/by-external-id", params=query)
    assert response.json() == record.record
    for asked in (
        {"tag": text, "limit": "1"},
        {"external_namespace": text, "external_value": text},
    ):
        response = await client.get(noun.path, params=asked)
        assert response.json()["items"] == [record.record]
    response = await client.get(noun.path, params={"q": text})
    assert response.status_code == 200


# --- nesting and size ------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 33 + b"]" * 33,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b'[{"a":' * 17 + b"1" + b"}]" * 17,
        b"[" * 1_000_000,
        b'["[",' * 33 + b"1" + b"]" * 33,
    ],
)
async def test_deep_nesting_is_400(client: Client, body: bytes) -> None:
    problem(await posted(client, CLAIM, body), 400, "too-deep")


@pytest.mark.usefixtures("untouched")
async def test_brackets_inside_strings_are_not_nesting(client: Client) -> None:
    brackets = '[{\\"' * 40
    for body in (b'{"nothing":"%b"}' % brackets.encode(), b"[" + b"[],{}," * 40 + b"1]"):
        problem(await posted(client, CLAIM, body), 422, "invalid-record")


def hostile(size: int) -> dict[str, bytes]:
    """Write bodies of a size whose reading could take a time that grows with its square."""
    return {
        "unfinished string": b"[" * 33 + b'"' + b'\\"' * size,
        "many keys, the last one twice": b"{"
        + b",".join(b'"%d":1' % n for n in range(size))
        + b',"%d":1}' % (size - 1),
        "brackets": b"[" + b"[       ]," * size + b"1]",
        "unfinished brackets": b"[]" * size + b"[",
    }


def work_of(body: bytes) -> int:
    """Count the steps of reading a body: lines of Python, and what calls of methods go through.

    bench/bodies.py measures what can't be counted here, such as regular expressions.
    """
    steps = 0

    def lines(_: object, event: str, __: object) -> Any:
        nonlocal steps
        steps += event == "line"
        return lines

    def calls(_: object, event: str, called: Any) -> None:
        nonlocal steps
        owner = getattr(called, "__self__", None)
        searches = {"count", "index", "remove"}
        if event == "c_call" and isinstance(owner, bytes | str | list):
            steps += len(owner) if not isinstance(owner, list) or called.__name__ in searches else 1

    before = sys.gettrace(), sys.getprofile()
    try:
        sys.settrace(lines)
        sys.setprofile(calls)
        with contextlib.suppress(Problem):
            read_json(body)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps


@pytest.mark.parametrize("name", hostile(1))
def test_no_body_is_read_in_quadratic_time(name: str) -> None:
    """Three times the body takes some three times the steps, where a square would be nine."""
    for size in (1_000, 8_000):  # a small body is read in another way than a large one
        assert work_of(hostile(3 * size)[name]) < 6 * work_of(hostile(size)[name])


@pytest.mark.parametrize(
    "body",
    [
        b"[%b1]" % ((b"1" * 300 + b",") * 300),
        b"[1%b]" % (b" " * 70_000),
        b"[%b1]" % (b"1.5," * 20_000),
    ],
    ids=["long numbers", "blanks", "fractions"],
)
def test_no_regular_expression_reads_a_large_body(body: bytes) -> None:
    """What it costs can't be counted, and nothing interrupts it."""
    searched = set()

    def calls(_: object, event: str, called: Any) -> None:
        owner = getattr(called, "__self__", None)
        if event == "c_call" and isinstance(owner, re.Pattern):
            searched.add(owner.pattern)

    before = sys.getprofile()
    try:
        sys.setprofile(calls)
        read_json(body)
    finally:
        sys.setprofile(before)
    assert not searched


def test_a_large_body_is_decoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    decode = msgspec.json.decode

    def noted(text: Any, **more: Any) -> Any:
        sizes.append(memoryview(text).nbytes)
        return decode(text, **more)

    monkeypatch.setattr(msgspec.json, "decode", noted)
    record = {
        "x": [{"start": 1, "exact": "é", "more": [[], {}, None, 1.5, "[{,"]}] * 1_200,
        "y": {},
    }
    size = json_text.WINDOW_BYTES
    text = json.dumps(
        {
            "a": [record] * 2,
            "b": record,
            "c": [0] * 9,
            "escapes": "é😀" * (size // 12),
            "many keys": {f"key {number}": number for number in range(size // 10)},
            "k" * size * 2: [[" " * size * 2]],
        }
    )
    blanks = "\n" * size * 2
    body = f"{blanks}{text[:-1]}{blanks}}} ".encode()
    assert read_json(body) == json.loads(body)
    assert max(sizes) <= size + len("[]")


JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('é😀\\"[]{},: a', max_size=12),
    lambda values: (
        st.lists(values, max_size=4) | st.dictionaries(st.text('b:"😀', max_size=3), values)
    ),
    max_leaves=20,
)


@given(data=st.data())
def test_pieces_are_read_as_the_whole(data: st.DataObject) -> None:
    """However small the pieces are, what is JSON is read, and nothing else."""
    value, indent = data.draw(JSON_VALUES), data.draw(st.sampled_from([None, 1]))
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=indent)
    place = data.draw(st.integers(0, len(text)))
    changed = text[:place] + data.draw(st.text('[]{},:" \\1u', max_size=1)) + text[place + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "PIECE_BYTES", data.draw(st.integers(16, 64)))
        for each in (text.encode(), changed.encode()):
            mask = json_pieces.masked(each)
            try:
                whole = msgspec.json.decode(each)
            except msgspec.DecodeError:
                with pytest.raises(Problem, match=r"byte \d+"):
                    json_pieces.decode(each, mask)
            else:
                assert json_pieces.decode(each, mask) == whole


@given(data=st.data())
def test_a_small_body_is_read_alike_however_it_is_written(data: st.DataObject) -> None:
    """What msgspec would write just so is read by msgspec, and the rest with the same outcome."""
    value, indent = data.draw(JSON_VALUES), data.draw(st.sampled_from([None, 1]))
    compact = (",", ":") if data.draw(st.booleans()) else None
    text = json.dumps(
        value, ensure_ascii=data.draw(st.booleans()), indent=indent, separators=compact
    )
    place = data.draw(st.integers(0, len(text)))
    changed = text[:place] + data.draw(st.text('[]{},:" \\1u', max_size=1)) + text[place + 1 :]
    for each in (text, changed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_text, "_read_plain", lambda _: None)
            closely = read_or_refuse(each.encode())
        assert read_or_refuse(each.encode()) == closely


def read_or_refuse(body: bytes) -> Any:
    """Give the document as Python shows it, which tells 1 from 1.0, or the problem."""
    try:
        return repr(read_json(body))
    except Problem as problem:
        return problem.kind, problem.detail, problem.errors


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":2,"a":1}',
        '[{"a":{"":1,"":2}}]',
        "[1.0000000000000001]",
        "[1e999]",
        "[-1E-999]",
        "[NaN]",
        r'["\u0000"]',
        r'{"\u0000":1}',
        r'["\ud800"]',
        "[" * 33 + "]" * 33,
        "1" * 5_000,
    ],
)
def test_what_a_decoder_lets_pass_is_refused_in_a_small_body(text: str) -> None:
    for body in (text, f" {text}"):
        with pytest.raises(Problem):
            read_json(body.encode())


def test_a_body_as_programs_write_it_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder of the standard library calls Python for each object."""
    monkeypatch.setattr(json_text, "_DECODER", None)
    document = {"a": [{"b": 'é\\\n"', "c": [True, None, 0.25, -7]}], "d": {}}
    assert (
        read_json(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
        == document
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=16) | st.integers(-9, 9)))
def test_a_large_body_keeps_each_number(numbers: list[float]) -> None:
    blanks = " " * json_text.WINDOW_BYTES
    assert read_json(f"[{blanks}{json.dumps(numbers)}]".encode()) == [numbers]


@pytest.mark.parametrize(
    "number", ["1.0000000000000001", "-1e999", "1E-999", "12345678901234567.5"]
)
def test_a_large_body_is_refused_for_a_number_that_is_rounded(number: str) -> None:
    with pytest.raises(Problem) as caught:
        read_json(f'[true,false,null,{" " * json_text.WINDOW_BYTES}{{"a":{number}}}]'.encode())
    assert caught.value.errors[0]["detail"] == "A number is out of range."


def test_the_garbage_collector_does_not_look_at_records() -> None:
    """There can be thousands of parts in one, and none refers back."""
    kinds: list[type[msgspec.Struct]] = [each.create for each in RESOURCES.values()]
    while kinds:
        kind = kinds.pop()
        assert not kind.__struct_config__.gc, kind
        found = (shape(each.type).kind for each in fields(kind))
        kinds += [k for k in found if isinstance(k, type) and issubclass(k, msgspec.Struct)]


def test_the_place_of_an_error_is_that_in_the_whole_body() -> None:
    body = b" [%b[1 2]]" % (b"[1]," * 20_000)
    with pytest.raises(Problem, match=f"byte {body.index(b'2')}"):
        read_json(body)


def looked_at(body: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Count the values of a claim that are looked at to find its faults, and the faults."""
    looks = 0
    convert = msgspec.convert

    def counted(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return convert(*args)

    monkeypatch.setattr(msgspec, "convert", counted)
    _, found = check(read_object(body), CLAIM.resource.create)
    return looks, len(found)


def test_a_list_is_measured_before_its_items_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"text":"x","tags":[%b]}' % b",".join([b"1"] * 50_000)
    assert looked_at(body, monkeypatch) == (105, 101)


def test_no_more_faults_are_looked_for_than_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: Body = {"appearances": [{"spans": [{}] * 100}] * 200}
    looks, found = looked_at(json.dumps({"text": "x", **printed}).encode(), monkeypatch)
    assert (found, looks < 500) == (1_000, True)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """Send a body without saying how long it is."""
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


MEBIBYTE = 1_048_576


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("way", WAYS)
async def test_a_body_beyond_the_limit_is_413(
    client: Client, noun: Noun, ids: Ids, way: str
) -> None:
    limit = 4 * MEBIBYTE + 65_536 if noun is ARTICLE else MEBIBYTE
    body = json.dumps({"nothing": ""}).encode().replace(b'""', b'"%b"')
    longest = body % (b"x" * (limit - len(body) + 2))
    assert len(longest) == limit
    identity = ids[noun.type]
    problem(await written(client, noun, way, identity, longest), 422, "invalid-record")
    response = await written(client, noun, way, identity, longest + b" ")
    problem(response, 413, "body-too-large")
    assert response.headers["connection"] == "close"
    if way == "POST":
        streamed = await client.post(noun.path, content=chunks(longest + b" "), headers=JSON)
        problem(streamed, 413, "body-too-large")


async def test_an_article_may_have_a_text_of_4_mib(client: Client) -> None:
    text = "".join(f"{n} " for n in range(700_000))[: 4 * MEBIBYTE]
    record = await create(client, ARTICLE, ARTICLE.minimal(text=text))
    assert record.record["text"] == text
    assert record.record["text_length"] == 4 * MEBIBYTE
    response = await client.get(ARTICLE.path, params={"q": "54321", "id__in": record.id})
    assert len(response.json()["items"]) == 0
    response = await client.get(ARTICLE.path, params={"q": "4321", "id__in": record.id})
    assert len(response.json()["items"]) == 1
    longer = ARTICLE.minimal(text=text + "x")
    assert faults(await posted(client, ARTICLE, longer)) == [("/text", "invalid-value")]


@pytest.mark.usefixtures("untouched")
async def test_a_long_url_is_414_and_long_headers_are_431(client: Client, noun: Noun) -> None:
    problem(await client.get(noun.path + "?q=" + "x" * 8_192), 414, "uri-too-long")
    problem(await client.get(f"{noun.path}/{'x' * 8_192}"), 414, "uri-too-long")
    long = {"x-long": "x" * 70_000}
    problem(await client.get(noun.path, headers=long), 431, "headers-too-large")
    many = [(f"x-{n}", "x") for n in range(500)]
    problem(await client.get(noun.path, headers=many), 431, "headers-too-large")


@pytest.mark.usefixtures("untouched")
async def test_a_url_of_8_kib_is_read(client: Client, noun: Noun) -> None:
    query = "&".join(f"id__in={uuid4()}" for _ in range(185))
    response = await client.get(f"{noun.path}?{query}")
    assert response.status_code == 200
    assert response.json()["items"] == []
    query = "&".join(["tag=x"] * 65)
    assert (await client.get(f"{noun.path}?{query}")).status_code == 400


# --- media types -----------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json, text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/ld+json",
        "*/*",
        "json",
    ],
)
async def test_another_media_type_is_415(
    client: Client, ids: Ids, way: str, media_type: str
) -> None:
    body = json.dumps(CLAIM.minimal()).encode()
    response = await written(
        client, CLAIM, way, ids[CLAIM.type], body, **{"content-type": media_type}
    )
    problem(response, 415, "unsupported-media-type")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", ["content-type", "content-encoding"])
async def test_a_second_media_type_or_coding_is_415(client: Client, name: str) -> None:
    values = {"content-type": [JSON["content-type"]] * 2, "content-encoding": ["identity", "gzip"]}
    headers = {"content-type": JSON["content-type"], name: values[name][0]}
    sent = [*headers.items(), (name, values[name][1])]
    body = json.dumps(CLAIM.minimal()).encode()
    response = await client.post(CLAIM.path, content=body, headers=sent)
    problem(response, 415, "unsupported-media-type")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip", "x"])
async def test_an_encoded_body_is_415(client: Client, ids: Ids, coding: str) -> None:
    body = json.dumps(CLAIM.minimal()).encode()
    for way in WAYS:
        headers = {"content-encoding": coding}
        response = await written(client, CLAIM, way, ids[CLAIM.type], body, **headers)
        problem(response, 415, "unsupported-media-type")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "identity", "x"])
async def test_a_body_in_another_transfer_coding_is_415(client: Client, coding: str) -> None:
    """RFC 9112, section 6.1; what is sent here is plain, as a body of an attack would be."""
    headers = {**JSON, "transfer-encoding": coding}
    body = json.dumps(CLAIM.minimal()).encode()
    response = await client.post(CLAIM.path, content=body, headers=headers)
    assert "`Transfer-Encoding`" in problem(response, 415, "unsupported-media-type")["detail"]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        JSON["content-type"],
    ],
)
async def test_json_is_json_however_it_is_spelt(client: Client, media_type: str) -> None:
    headers = {
        "content-type": media_type,
        "content-encoding": "identity",
        "transfer-encoding": "Chunked",
    }
    body = json.dumps(CLAIM.minimal()).encode()
    assert (await client.post(CLAIM.path, content=body, headers=headers)).status_code == 201


# --- readable, but against the schema --------------------------------------------------------


def zone(end: str) -> bytes:
    """Write an article with one zone, its end as given."""
    return b'{"headline":"x","zones":[{"zone":"body","start":0,"end":%b}]}' % end.encode()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ('"15"', "wrong-type"),
        ("1.0", "wrong-type"),
        ("1e2", "wrong-type"),
        ("true", "wrong-type"),
        ("[1]", "wrong-type"),
        ("{}", "wrong-type"),
        ("null", "required"),
        ("-1", "invalid-value"),
        ("2147483648", "invalid-value"),
        ("9223372036854775808", "invalid-value"),
        ("1" * 4_000, "invalid-value"),
    ],
)
async def test_a_whole_number_is_a_whole_number(client: Client, end: str, code: str) -> None:
    assert faults(await posted(client, ARTICLE, zone(end))) == [("/zones/0/end", code)]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5_000, "1" + "0" * 400 + ".5"])
async def test_a_number_beyond_all_bounds_is_422(client: Client, number: str) -> None:
    response = await posted(client, ARTICLE, zone(number))
    assert {code for _, code in faults(response)} == {"invalid-value"}


def figure(value: str) -> bytes:
    """Write a claim with one exact figure, as given."""
    return (
        b'{"text":"x","quantities":[{"metric":"killed","unit":"person","qualifier":"exact",'
        b'"printed":"x","value":%b}]}' % value.encode()
    )


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ('"1"', "wrong-type"),
        ("true", "wrong-type"),
        ("1e15", "invalid-value"),
        ("1000000000000000", "invalid-value"),
        ("-1e300", "invalid-value"),
        ("0.1234567890123456", "too-precise"),
    ],
)
async def test_a_figure_is_a_number_that_every_reader_keeps(
    client: Client, value: str, code: str
) -> None:
    assert faults(await posted(client, CLAIM, figure(value))) == [("/quantities/0/value", code)]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("10000", "10000"),
        ("1e4", "10000"),
        ("10000.0", "10000"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0.1", "0.1"),
        ("12.50", "12.5"),
        ("999999999999999", "999999999999999"),
        ("-0.000000000000123", "-1.23e-13"),
    ],
)
async def test_a_figure_leaves_in_one_spelling(client: Client, value: str, stored: str) -> None:
    response = await posted(client, CLAIM, figure(value))
    assert response.status_code == 201
    assert f'"value":{stored},' in response.text
    rating = b'{"assessor":"a","scheme":"s","label":"l","best":%b}' % value.encode()
    response = await posted(client, CLAIM, b'{"text":"x","assessments":[%b]}' % rating)
    assert response.status_code == 201
    assert f'"best":{stored},' in response.text


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("instant", "code"),
    [
        ("2024-01-01T00:00:00", "invalid-value"),
        ("2024-01-01", "invalid-value"),
        ("2024-01-01 00:00:00Z", "invalid-value"),
        ("2024-01-01t00:00:00z", "invalid-value"),
        ("2024-01-01T00:00:00.1234567Z", "invalid-value"),
        ("2024-01-01T24:00:00Z", "invalid-value"),
        ("2024-01-01T23:59:60Z", "invalid-value"),
        ("2024-13-01T00:00:00Z", "invalid-value"),
        ("2024-01-01T00:00:00+15:00", "invalid-value"),
        ("10000-01-01T00:00:00Z", "invalid-value"),
        ("0000-01-01T00:00:00Z", "invalid-value"),
        ("2024-01-01T00:00:00Z\n", "invalid-value"),
        ("٢٠٢٤-01-01T00:00:00Z", "invalid-value"),
        ("2023-02-29T00:00:00Z", "impossible-date"),
        ("2024-04-31T00:00:00Z", "impossible-date"),
        ("infinity", "invalid-value"),
        ("now", "invalid-value"),
        ("", "invalid-value"),
    ],
)
async def test_an_instant_is_on_the_calendar_and_has_an_offset(
    client: Client, instant: str, code: str
) -> None:
    body = CLAIM.minimal(embargoed_until=instant)
    assert faults(await posted(client, CLAIM, body)) == [("/embargoed_until", code)]


@pytest.mark.parametrize(
    "instant",
    ["2999-12-31T23:59:59-14:00", "1000-01-01T00:00:00+14:00", "2024-06-30T12:00:00+05:30"],
)
async def test_an_instant_that_was_taken_can_be_written_back(client: Client, instant: str) -> None:
    """In UTC it may lie in another year than it was sent in."""
    response = await posted(client, CLAIM, CLAIM.minimal(embargoed_until=instant))
    if response.status_code == 422:
        assert faults(response) == [("/embargoed_until", "impossible-date")]
        return
    record = Stored(f"{CLAIM.path}/{response.json()['id']}", "", response.json())
    headers = {"if-match": "*"}
    response = await client.put(record.path, json=record.record, headers=headers)
    assert response.status_code == 200, response.text
    assert response.json() == record.record


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("odd", ["1", "", "nil", " {id}", "{id}\n", "{ID}", "{{{id}}}", "{hex}"])
async def test_a_reference_is_a_canonical_uuid(client: Client, ids: Ids, odd: str) -> None:
    identity = ids[RecordType.CLAIM]
    given = odd.format(id=identity, ID=identity.upper(), hex=identity.replace("-", ""))
    body = CLAIM.minimal(parent_claim_id=given)
    assert faults(await posted(client, CLAIM, body)) == [("/parent_claim_id", "invalid-value")]


@pytest.mark.usefixtures("untouched")
async def test_every_property_of_a_wrong_type_is_pointed_at(
    client: Client, noun: Noun, ids: Ids
) -> None:
    wrong = dict.fromkeys(noun.full(ids), 1)
    expected = sorted((f"/{name}", "wrong-type") for name in wrong)
    assert faults(await posted(client, noun, wrong)) == expected


@pytest.mark.usefixtures("untouched")
async def test_unknown_fields_are_pointed_at_at_every_depth(
    client: Client, noun: Noun, ids: Ids
) -> None:
    expected: list[str] = []
    body = strange(noun.full(ids), "", expected)
    assert faults(await posted(client, noun, body)) == sorted(
        (pointer, "unknown-field") for pointer in expected
    )
    assert len(expected) > 3


def strange(value: Any, pointer: str, added: list[str]) -> Any:
    """Add an unknown field to every object in a body, noting where."""
    if isinstance(value, list):
        return [strange(item, f"{pointer}/{i}", added) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    added.append(f"{pointer}/x~1y~0z")
    inner = {name: strange(item, f"{pointer}/{name}", added) for name, item in value.items()}
    return {**inner, "x/y~z": 1}


@pytest.mark.usefixtures("untouched")
async def test_what_is_required_is_pointed_at(client: Client, noun: Noun) -> None:
    expected = sorted((f"/{name}", "required") for name in noun.minimal() if name != "name")
    assert faults(await posted(client, noun, b"{}")) == expected
    nulls = dict.fromkeys(noun.minimal())
    found = faults(await posted(client, noun, nulls))
    assert [fault for fault in found if fault[0] != "/name"] == expected


async def test_all_the_faults_of_a_body_are_told_at_once(
    client: Client, connection: Connection, ids: Ids
) -> None:
    before = await count_rows(connection)
    source = ids[RecordType.SOURCE]
    body = {
        "text": "",
        "kind": "gossip",
        "language": "en_GB",
        "tags": ["a", "", "b" * 101],
        "attributions": [
            {"source_id": source, "position": "0"},
            {"source_id": "nobody", "role": "claimant", "mood": 1},
            {"resolution": "certain"},
        ],
        "quantities": [
            {
                "metric": "Killed",
                "unit": "person",
                "qualifier": "between",
                "lower": 9,
                "printed": "x",
            },
            {"metric": "killed", "qualifier": "vague", "printed": 7},
        ],
        "stated": {"earliest": "2024-02-30", "precision": "fortnight"},
        "extraction": {"agent": "x", "confidence": 1.5},
        "assessments": {},
    }
    assert faults(await posted(client, CLAIM, body)) == sorted(
        [
            ("/text", "invalid-value"),
            ("/kind", "unknown-term"),
            ("/language", "invalid-value"),
            ("/tags/1", "invalid-value"),
            ("/tags/2", "invalid-value"),
            ("/attributions/0/position", "wrong-type"),
            ("/attributions/1/source_id", "invalid-value"),
            ("/attributions/1/mood", "unknown-field"),
            ("/attributions/2/source_id", "source-needed"),
            ("/quantities/0/metric", "invalid-value"),
            ("/quantities/1/unit", "required"),
            ("/quantities/1/printed", "wrong-type"),
            ("/stated/earliest", "impossible-date"),
            ("/stated/precision", "unknown-term"),
            ("/extraction/method", "required"),
            ("/extraction/confidence", "invalid-value"),
            ("/assessments", "wrong-type"),
        ]
    )
    assert await count_rows(connection) == before


@pytest.mark.usefixtures("untouched")
async def test_all_the_broken_rules_of_a_body_are_told_at_once(client: Client, ids: Ids) -> None:
    other = ids[RecordType.CLAIM]
    figure_ = {"metric": "killed", "unit": "person", "printed": "x"}
    body = CLAIM.minimal(
        tags=["a", "a"],
        embedding="embedded",
        attributions=[{"resolution": "certain"}],
        quantities=[
            {**figure_, "qualifier": "between", "lower": 2, "upper": 1},
            {**figure_, "qualifier": "exact", "upper": 1},
            {**figure_, "qualifier": "vague", "term": "x", "reading": {"rule": "x"}},
        ],
        appearances=[
            {
                "article_id": ids[RecordType.ARTICLE],
                "spans": [{"start": 0, "end": 5, "exact": "four"}],
            }
        ],
        stated={"earliest": "2024-01-02", "latest": "2024-01-01"},
        relations=[{"claim_id": other, "kind": "about"}, {"claim_id": other, "kind": "about"}],
    )
    assert faults(await posted(client, CLAIM, body)) == sorted(
        [
            ("/tags/1", "duplicate-item"),
            ("/parent_claim_id", "required"),
            ("/attributions/0/source_id", "source-needed"),
            ("/quantities/0/upper", "out-of-order"),
            ("/quantities/1/value", "required"),
            ("/quantities/1/upper", "not-allowed"),
            ("/quantities/2/reading/lower", "required"),
            ("/appearances/0/spans/0/end", "span-length"),
            ("/stated/latest", "out-of-order"),
            ("/relations/1", "duplicate-item"),
        ]
    )


@pytest.mark.usefixtures("untouched")
async def test_all_that_the_database_knows_better_is_told_at_once(client: Client, ids: Ids) -> None:
    nobody, start = str(uuid4()), TEXT.index("Lee")
    article = {"article_id": ids[RecordType.ARTICLE]}
    body = CLAIM.minimal(
        version=2,
        parent_claim_id=nobody,
        attributions=[{"source_id": nobody, "via_id": ids[RecordType.CLAIM]}],
        appearances=[
            {**article, "spans": [{"start": start + 1, "end": start + 4, "exact": "Lee"}]},
            {**article, "spans": [{"start": 9_997, "end": 10_000, "exact": "Lee"}]},
            {**article, "article_version": 99},
            {**article, "anchor": "orphaned"},
        ],
    )
    assert faults(await posted(client, CLAIM, body), "unknown-reference") == sorted(
        [
            ("/version", "read-only"),
            ("/parent_claim_id", "unknown-reference"),
            ("/attributions/0/source_id", "unknown-reference"),
            ("/attributions/0/via_id", "unknown-reference"),
            ("/appearances/0/spans/0/exact", "span-mismatch"),
            ("/appearances/1/spans/0/end", "outside-text"),
            ("/appearances/2/article_version", "unknown-reference"),
            ("/appearances/3/anchor", "read-only"),
        ]
    )


WRONG: Any = {
    "kind": "gossip",
    "attributions": [{"position": "0", "source_id": "@nobody"}, {"source_id": "nobody"}],
    "relations": [{"claim_id": "@nobody", "kind": "about"}, {"claim_id": "@nobody"}, 1],
    "stated": {"earliest": "2024-02-30"},
    "parties": [{"source_id": "@source", "role": "x"}],
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("way", [*WAYS, "import", "import?atomic=true"])
async def test_unknown_references_are_told_with_the_faults_of_the_form(
    client: Client, ids: Ids, way: str
) -> None:
    text = json.dumps(CLAIM.minimal(**WRONG)).replace("@nobody", str(uuid4()))
    body = text.replace("@source", ids[RecordType.SOURCE]).encode()
    expected = [
        ("/attributions/0/position", "wrong-type"),
        ("/attributions/0/source_id", "unknown-reference"),
        ("/attributions/1/source_id", "invalid-value"),
        ("/kind", "unknown-term"),
        ("/parties/0/role", "unknown-term"),
        ("/relations/0/claim_id", "unknown-reference"),
        ("/relations/1/claim_id", "unknown-reference"),
        ("/relations/1/kind", "required"),
        ("/relations/2", "wrong-type"),
        ("/stated/earliest", "impossible-date"),
    ]
    if way.startswith("import"):
        line = b'{"type":"claim","data":%b}' % body
        headers = {"content-type": "application/x-ndjson"}
        response = await client.post(f"/v1/{way}", content=line, headers=headers)
        told = json.loads(response.text.splitlines()[0])["problem"]["errors"]
        assert sorted((error["pointer"], error["code"]) for error in told) == [
            (f"/data{pointer}", code) for pointer, code in expected
        ]
        return
    assert faults(await written(client, CLAIM, way, ids[CLAIM.type], body)) == expected


@pytest.mark.usefixtures("untouched")
async def test_a_patch_is_told_all_its_faults_at_once(client: Client, ids: Ids) -> None:
    patch = {
        "text": None,
        "nothing": None,
        "language": 5,
        "attributions": [{"source_id": str(uuid4())}],
        "extraction": {"method": None, "agent": "x"},
    }
    response = await written(client, CLAIM, "PATCH", ids[CLAIM.type], json.dumps(patch).encode())
    assert faults(response) == [
        ("/attributions/0/source_id", "unknown-reference"),
        ("/extraction/method", "required"),
        ("/language", "wrong-type"),
        ("/nothing", "unknown-field"),
        ("/text", "required"),
    ]


async def test_a_record_does_not_refer_to_itself(client: Client, noun: Noun, ids: Ids) -> None:
    record = await create(client, noun, noun.referred())
    body = noun.full({**ids, noun.type: record.id})
    response = await client.put(record.path, json=body, headers=record.match)
    assert {code for _, code in faults(response)} == {"self-reference"}


@pytest.mark.usefixtures("untouched")
async def test_an_unknown_term_is_answered_with_the_terms(client: Client) -> None:
    response = await posted(client, DENIAL, DENIAL.minimal(kind="denial"))
    (error,) = problem(response, 422, "invalid-record")["errors"]
    assert "full_denial" in error["detail"]


def most_keys(struct: type[msgspec.Struct]) -> int:
    """Count the properties that a record has at most."""
    total = 0
    for field in fields(struct):
        found = shape(field.type)
        total += 1
        if struct is Appearance and field.name == "spans":
            continue  # they are limited for the whole record
        if isinstance(found.kind, type) and issubclass(found.kind, msgspec.Struct):
            assert found.max_items or not found.many, field
            total += most_keys(found.kind) * (found.max_items or 1)
        if found.kind is Appearance:
            total += most_keys(Span) * MAX_SPANS
    return total


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=list(RESOURCES))
def test_a_record_within_its_limits_is_never_too_large_to_be_read(resource: Resource) -> None:
    line_and_server = 50
    assert most_keys(resource.create) + line_and_server <= json_text.MAX_KEYS


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("noun", [CLAIM, DENIAL], ids=["claim", "denial"])
async def test_the_spans_of_a_record_end_somewhere(client: Client, ids: Ids, noun: Noun) -> None:
    spans = [{"start": 0, "end": 1, "exact": "x"}] * 100
    appearance = {"article_id": ids[RecordType.ARTICLE], "spans": spans}
    body = noun.minimal(appearances=[appearance] * 40 + [{**appearance, "spans": spans[:1]}])
    response = await posted(client, noun, body)
    assert faults(response) == [("/appearances", "invalid-value")]
    assert "At most 4,000 spans" in response.json()["detail"]
    assert "another record" in response.json()["detail"]


async def test_lists_end_somewhere(client: Client, noun: Noun) -> None:
    limit = 100
    tags = [f"{n}" for n in range(limit + 1)]
    assert faults(await posted(client, noun, noun.minimal(tags=tags))) == [
        ("/tags", "invalid-value")
    ]
    await create(client, noun, noun.minimal(tags=tags[:limit]))


async def test_a_url_is_bounded_and_percent_encoded(client: Client) -> None:
    longest = f"https://example.org/{unique()}/".ljust(2_000, "x")
    await create(client, ARTICLE, ARTICLE.minimal(url=longest))
    for url in (longest + "x", "javascript:alert(1)", "//x", "https://ü.example/", "https://x /"):
        response = await posted(client, ARTICLE, ARTICLE.minimal(url=url))
        assert faults(response) == [("/url", "invalid-value")]


async def test_the_longest_external_id_is_kept(client: Client, noun: Noun) -> None:
    for letter in ("x", "é", "😀"):
        pair = {"namespace": letter * 100, "value": letter * 368 + unique()}
        record = await create(client, noun, noun.minimal(external_ids=[pair]))
        response = await client.get(f"{noun.path}/by-external-id", params=pair)
        assert response.json() == record.record


# --- cursors ---------------------------------------------------------------------------------


@pytest.fixture
async def next_cursor(client: Client, noun: Noun) -> str:
    """Take a cursor of each noun's list."""
    tag = unique()
    for _ in range(2):
        await create(client, noun, noun.minimal(tags=[tag]))
    response = await client.get(noun.path, params={"limit": 1})
    found: str = response.json()["next_cursor"]
    return found


def mutations(text: str) -> Iterator[str]:
    """Yield spellings of a cursor that are not the one that was given."""
    yield from ("x", "=", "é", "%", " ", "null", "a" * 2_001, text + "=", text + "A", text[:-1])
    yield from (text.upper(), text[::-1], f" {text}", text + "\n", text.replace("A", "/"))
    for place in range(0, len(text), 7):
        other = "A" if text[place] != "A" else "B"
        yield text[:place] + other + text[place + 1 :]


async def test_a_mutated_cursor_is_refused(client: Client, noun: Noun, next_cursor: str) -> None:
    for mutated in mutations(next_cursor):
        if mutated == next_cursor:
            continue
        response = await client.get(noun.path, params={"limit": 1, "cursor": mutated})
        assert response.status_code == 400, mutated
        assert response.json()["code"] in {"invalid-cursor", "invalid-parameter"}
        assert response.json()["errors"][0]["parameter"] == "cursor"


async def test_a_cursor_of_another_list_is_refused(
    client: Client, noun: Noun, ids: Ids, next_cursor: str
) -> None:
    for other in EVERY.values():
        if other is not noun:
            response = await client.get(other.path, params={"cursor": next_cursor})
            problem(response, 400, "cursor-mismatch")
    path = f"{noun.path}/{ids[noun.type]}/revisions"
    response = await client.get(path, params={"cursor": next_cursor})
    problem(response, 400, "cursor-mismatch")


async def test_a_forged_cursor_is_refused(client: Client, noun: Noun, next_cursor: str) -> None:
    """The checksum is no secret: whoever reads the code can make one for any values."""
    raw = urlsafe_b64decode(next_cursor + "=" * (-len(next_cursor) % 4))
    forged: list[Any] = [
        [],
        ["x"],
        [1, 2, 3],
        {},
        None,
        "text",
        [None, "x"],
        ["x", str(uuid4())],
        [5, str(uuid4())],
        [[], str(uuid4())],
        ["2024-01-01T00:00:00Z", 7],
        ["9999-99-99T00:00:00Z", str(uuid4())],
    ]
    for values in forged:
        given = cursor.write(raw[6:12], values)
        response = await client.get(noun.path, params={"limit": 1, "cursor": given})
        assert (response.status_code, values) == (400, values)
        problem(response, 400, "invalid-cursor")
    given = urlsafe_b64encode(raw[:12]).decode().rstrip("=")
    problem(await client.get(noun.path, params={"cursor": given}), 400, "invalid-cursor")


# --- what is left in no answer ---------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
async def test_a_problem_is_not_larger_than_what_caused_it_by_much(client: Client) -> None:
    body = json.dumps({f"{n}": 1 for n in range(5_000)}).encode()
    response = await posted(client, CLAIM, body)
    problem(response, 422, "invalid-record")
    assert len(response.content) < 20 * len(body)
