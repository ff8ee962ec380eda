"""The corpus of hostile requests: fixed cases, generated from small sources, by class.

What each case must get is written here by the contract; nothing of the service is imported but its
published OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

Headers = tuple[tuple[bytes, bytes], ...]
PLURALS: Final = ("articles", "claims", "denials", "sources")
IDS: Final = {
    plural: f"01938f7a-4c00-7000-8000-00000000c0{place:02x}" for place, plural in enumerate(PLURALS)
}
"""One live record of each type."""
NOBODY: Final = "01938f7a-4c00-7000-8000-0000000000ff"
MINIMAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "articles": {"headline": "A headline"},
    "claims": {"text": "Something is so"},
    "denials": {"text": "They answer", "kind": "full_denial", "targets": [{"text": "all of it"}]},
    "sources": {"kind": "person", "name": "Somebody"},
}
WORDS: Final = {"articles": "headline", "claims": "text", "denials": "text", "sources": "name"}
"""A free text of each type."""
FULL: Final = "full"
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
NDJSON: Final = "application/x-ndjson"


class Case(NamedTuple):
    """A request, and what it must get."""

    name: str
    method: str
    target: str
    status: int
    code: str | None = None  # of the problem
    headers: Headers = ()
    body: bytes = b""
    key: str | None = FULL  # the name of a key, see `KEYS`
    host: bytes | None = b"127.0.0.1"
    kept: Mapping[str, Any] | None = None  # what the record has, read back
    line: tuple[int, str] | None = None  # an import: what the first line gets

    @property
    def writes(self) -> bool:
        """Tell whether something is written, rightly."""
        return self.kept is not None


class World(NamedTuple):
    """What is not known before a service runs."""

    cursors: Mapping[str, str]
    since: str  # a cursor of the change feed


Make = Callable[[World], Iterator[Case]]
CLASSES: Final[dict[str, Make]] = {}


def kind_of_case(name: str) -> Callable[[Make], Make]:
    """Enter a class of cases."""

    def entered(make: Make) -> Make:
        CLASSES[name] = make
        return make

    return entered


def short(value: object) -> str:
    """Name a case after what it sends."""
    return repr(value)[:60]


def head(**named: str | bytes) -> Headers:
    """Write headers; `_` stands for `-`."""
    return tuple(
        (name.replace("_", "-").encode(), v.encode() if isinstance(v, str) else v)
        for name, v in named.items()
    )


WAYS: Final = ("POST", "PUT", "PATCH", "upsert")


def write(way: str, plural: str, body: bytes | Mapping[str, Any], **expected: Any) -> Case:
    """Send a body to one of the operations of a type that read one."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = head(content_type=MERGE_PATCH if way == "PATCH" else JSON)
    target = f"/v1/{plural}"
    if way == "upsert":
        target += "/by-external-id?namespace=corpus&value=none"
    elif way != "POST":
        target += f"/{IDS[plural]}"
        sent += head(if_match="*")
    name = expected.pop("name", f"{way} {plural} {short(raw)}")
    sent = expected.pop("headers", sent)
    return Case(name, "PUT" if way == "upsert" else way, target, body=raw, headers=sent, **expected)


# --- JSON that is not JSON (after JSONTestSuite's n_ cases) ------------------------------------

_NUMBERS: Final = (
    "+1 ++1 +Infinity 01 -01 00 012 -012 1. -1. 2.e3 2.e+3 2.e-3 9.e+ .5 -.5 .2e-3 1e 1E 1e+ 1e- 1E+"
    " 0e 0E 0e+ 0E+ 0.3e 0.3e+ 1.0e 1.0e- 1.0e+ 1eE2 1e1.5 0.1.2 1.2.3 - -- --1 -foo -NaN nan NaN inf"
    " Inf Infinity -Infinity 0x1 0x42 0X1F 0b1 0o7 1_000 1f 1L 1n 1/2 1+2 1-2 0xg 1a 1ea -1x \uff11 \u0663 \u00bd"
    " 1\u00a0 $1 1% #1 (1)"
).split(" ")
_LITERALS: Final = (
    "nul nulll tru truee fals falsee True False None Null NULL TRUE nil undefined void yes no on"
    " off * ? & ... a <> <null> `a` 'a' 'a\" \"a' new() {{}} [null \u201ca\u201d ,1 1, 1,, :1 1:2"
).split(" ")
_ESCAPES: Final = (
    r"\a \v \0 \' \x41 \x \u \u1 \u12 \u123 \u00g0 \uzzzz \u-123 \u+041 \u{41} \U0041 \e \8 \% \ё \😀"
    r" \ \\\ \u005"
).split(" ")
_NOT_UTF_8: Final = (
    "ff fe 80 bf c0af c1bf c080 c3 c328 e282 e28228 e080af e09f80 eda080 edafbf edb080 edbfbf f0808080"
    " f08080af f0288cbc f09f98 f4908080 f5808080 f8888080af fc84808080af fffe feff e9"
).split(" ")
_LONE: Final = (
    r"\ud800 \udbff \udc00 \udfff \uD800x \ud800\ud800 \udc00\ud800 \ud83d\u0020 \ud83dx\ude00 \uDBFF\uDBFF"
).split(" ")
_AROUND: Final = (
    "x # // /**/ ; , : ] } [ { \" ' \\ {} [] 1 null \x00 \x01 \x0b \x0c \x1f \x7f \x85 \u00a0 \u2028 \u3000 \u2060"
).split(" ")
_STRUCTURES: Final = (
    '|  |\t|\n|{|}|[|]|{]|[}|{[|[{|{}}|[]]|[1,]|[,1]|[1,,2]|[,]|[1 2]|[1:2]|[1|[1,|["a"|["a|["a",|'
    '[{|[{}|["",|{"a"|{"a":|{"a":1|{"a":1,|{"a":1,"b"|{"a":"|{"a"}|{"a":}|{"a" 1}|{"a"::1}|{"a":1,}|{"a":1,,"b":2}|'
    '{,"a":1}|{,}|{:1}|{"a":1 "b":2}|{"a":1;"b":2}|{a:1}|{1:1}|{null:1}|{[]:1}|{{}:1}|{true:1}|'
    '{"a":1/*x*/}|{"a":/**/1}|{"a":1//\n}|{"a":\'b\'}|{"a"=1}|{"a"=>1}|{"a":(1)}|"|"a|a"|\'a\'|'
    '"a" "b"|1 2|{"a":1}{"b":2}|{"a":1},{"b":2}|<a/>|a=1|---\na: 1|{"a":1}]|[1]x|{"a":"b"c}|["a"b]'
).split("|")
_TWICE: Final = (
    b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"":1,"":2}', b'{"a":{"b":1,"b":1}}',
    b'{"a":[{"b":{"c":1,"d":2,"c":3}}]}', b'{"a":1,"b":2,"a":null}', b'{"\\t":1,"\\u0009":1}',
    b'{"\xf0\x9f\x98\x80":1,"\\ud83d\\ude00":1}', b'[{"a":1,"a":1}]', b'{"a":[],"a":[]}',
)  # fmt: skip


def not_json() -> Iterator[bytes]:
    """Yield bodies that are no JSON text, or one that readers read differently."""
    yield from (text.encode() for text in _STRUCTURES)
    for number in _NUMBERS:
        yield b'{"a":%b}' % number.encode()
    yield from (b"[%b]" % number.encode() for number in _NUMBERS[::3])
    yield from (b'{"a":%b}' % literal.encode() for literal in _LITERALS)
    yield from (b'{"a":"%b"}' % escape.encode() for escape in _ESCAPES)
    yield from (b'{"a":"x%cy"}' % control for control in range(32))
    yield from (b'{"%c":1}' % control for control in range(0, 32, 5))
    for pattern in (b'{"a":"%b"}', b'{"%b":1}', b'{"a":1}%b'):
        yield from (pattern % bytes.fromhex(raw) for raw in _NOT_UTF_8)
    for pattern in (b'{"a":"%b"}', b'{"%b":1}', b'{"a":[{"b":"x%b"}]}'):
        yield from (pattern % lone.encode() for lone in _LONE)
    yield from (b'{"a":1}' + text.encode() for text in _AROUND)
    yield from (text.encode() + b'{"a":1}' for text in _AROUND)
    for coding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7"):
        text = '{"a":"\u00e9"}' if coding != "utf-7" else '\u00e9{"a":1}'
        yield text.encode(coding)
    yield from _TWICE


@kind_of_case("not JSON")
def _not_json(_: World) -> Iterator[Case]:
    turns = cycle([(way, plural) for plural in PLURALS for way in WAYS[1:]])
    plurals = cycle(PLURALS)
    for body in not_json():
        yield write("POST", next(plurals), body, status=400, code="malformed-json")
        yield write(*next(turns), body, status=400, code="malformed-json")
    for body in list(not_json())[::5]:
        for target in ("/v1/keys", f"/v1/sources/{IDS['sources']}/identities"):
            name = f"POST {target} {short(body)}"
            sent = head(content_type=JSON)
            yield Case(name, "POST", target, 400, "malformed-json", sent, body)


# --- nesting and size ---------------------------------------------------------------------------

_MEBIBYTE: Final = 1_048_576


@kind_of_case("depth and size")
def _deep(_: World) -> Iterator[Case]:
    deep = {
        "33 lists": b"[" * 33 + b"]" * 33,
        "33 objects": b'{"a":' * 33 + b"1" + b"}" * 33,
        "34 mixed": b'[{"a":' * 17 + b"1" + b"}]" * 17,
        "in a field": b'{"note":' + b"[" * 33 + b"]" * 33 + b"}",
        "unfinished": b"[" * 33,
        "unfinished mebibyte": b"[" * 1_000_000,
        "half a mebibyte": b"[" * 500_000 + b"]" * 500_000,
        "objects unfinished": b'{"":' * 200_000,
        "behind strings": b'["[",' * 33 + b"1" + b"]" * 33,
    }
    for plural in PLURALS:
        for way in WAYS:
            for name, body in deep.items():
                if len(body) > 1000 and (way != "POST" or plural == "articles"):
                    continue
                yield write(way, plural, body, status=400, code="too-deep", name=f"{way} {name}")
            flat = b'{"nothing":' + b"[" * 31 + b"]" * 31 + b"}"
            yield write(way, plural, flat, status=422, code="invalid-record", name=f"{way} 32 deep")
    for plural in PLURALS[1:]:
        for size, status, code in (
            (_MEBIBYTE, 422, "invalid-record"),
            (_MEBIBYTE + 1, 413, "body-too-large"),
            (10 * _MEBIBYTE, 413, "body-too-large"),
        ):
            body = b'{"nothing":"' + b"x" * (size - 14) + b'"}'
            yield write("POST", plural, body, status=status, code=code, name=f"{plural} {size}")
    for fill in (b"[],", b"{},", b'"",', b"1,", b"null,"):
        body = b"[" + fill * 100_000 + b"1]"
        yield write("POST", "claims", body, status=422, code="invalid-record", name=short(fill))


def filled_to(size: int, first: bytes, item: bytes, last: bytes) -> bytes:
    """Write as many items as fit into a body of a size."""
    count = (size - len(first) - len(item) - len(last)) // (len(item) + 1)
    return first + (item + b",") * count + item + last


_SPANS: Final = b",".join([b'{"start":0,"end":1,"exact":"x"}'] * 60)
_APPEARANCE: Final = b'{"article_id":"%b","spans":[%b%%b]}' % (NOBODY.encode(), _SPANS)


@cache
def large() -> dict[str, tuple[str, bytes]]:
    """Write large bodies with more faults than can be told, or with one that is hard to find."""
    claim = b'{"text":"x","%b":['
    claims = {
        f"{field.decode()} {item.decode()}": filled_to(size, claim % field, item, b"]}")
        for field, item, size in (
            (b"attributions", b"[]", _MEBIBYTE - 100),
            (b"attributions", b"{}", _MEBIBYTE - 100),
            (b"relations", b"{}", 80_000),
            (b"relations", b"{}", 30_000),
            (b"relations", b'{"x":1,"claim_id":1,"kind":"q"}', 30_000),
            (b"external_ids", b'{"namespace":"a","value":"a"}', _MEBIBYTE - 100),
            (b"tags", b"1.5", _MEBIBYTE - 100),
            (b"parties", b"[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", _MEBIBYTE - 100),
        )
    }
    claims["unknown"] = b'{"text":"x",%b}' % b",".join(b'"%d":1' % n for n in range(39_000))
    claims["unknown below"] = b'{"text":"x","stated":%b}' % claims["unknown"]
    claims["the last span"] = b'{"text":"x","appearances":[%b]}' % b",".join(
        [_APPEARANCE % b""] * 199 + [_APPEARANCE % b",1"]
    )
    claims["each 61st span"] = b'{"text":"x","appearances":[%b]}' % b",".join(
        [_APPEARANCE % b",{}"] * 200
    )
    claims["escapes"] = filled_to(_MEBIBYTE - 100, claim % b"tags", b'"\\u00e9\\n"', b"]}")
    four = 4 * _MEBIBYTE - 100
    articles = {
        "tags": filled_to(four, b'{"headline":"x","tags":[', b"1", b"]}"),
        "zones": filled_to(four, b'{"headline":"x","zones":[', b"{}", b"]}"),
        "text": b'{"headline":"","text":"%b"}' % (b"x" * (four - 50)),
        "text of escapes": b'{"headline":"","text":"%b"}' % (b"\\u00e9" * 690_000),
        "long numbers": filled_to(four, b'{"headline":"x","tags":[', b"1" * 300, b"]}"),
        "blanks": b'{"headline":""%b}' % (b" " * (four - 20)),
    }
    return {
        **{f"claims {name}": ("claims", body) for name, body in claims.items()},
        **{f"articles {name}": ("articles", body) for name, body in articles.items()},
    }


@kind_of_case("large and wrong")
def _large(_: World) -> Iterator[Case]:
    for name, (plural, body) in large().items():
        for way in WAYS:
            title = f"{way} {name}"
            yield write(way, plural, body, status=422, code="invalid-record", name=title)
        record_type = plural.removesuffix("s").encode()
        line = b'{"type":"%b","data":%b}\n' % (record_type, body)
        for query in ("", "?atomic=true"):
            target, media = f"/v1/import{query}", head(content_type=NDJSON)
            title = f"three lines of {name} {query}"
            got = (422, "invalid-record")
            yield Case(title, "POST", target, 200, None, media, 3 * line, line=got)


# --- readable, but against the schema -----------------------------------------------------------


def _refused(plural: str, name: str, more: bytes, way: str = "POST") -> Case:
    """Write a record with one member more, as it is spelt."""
    members = [b"%b:%b" % (json.dumps(k).encode(), json.dumps(v).encode())
               for k, v in MINIMAL[plural].items()]  # fmt: skip
    body = b"{" + b",".join([*members, more]) + b"}"
    return write(
        way, plural, body, status=422, code="invalid-record", name=f"{way} {plural} {name}"
    )


_WHOLE: Final = (
    '"15" "" 1.0 1e2 1.5 true false [1] [] {} null -1 2147483648 9223372036854775807'
    " 9223372036854775808 18446744073709551616 1e999 -1e999 1e-999 -0.5 0.1 NAN 99999999999"
).replace(" NAN", "").split(" ")  # fmt: skip
_FIGURES: Final = (
    '"1" "" true false [] {} [1] 1e15 1000000000000000 -1000000000000000 -1e300 1e308 1e309 -1e999'
    " 0.1234567890123456 1.0000000000000001 123456789012345.6 1e-999 9223372036854775808"
).split(" ")


@kind_of_case("numbers")
def _numbers(_: World) -> Iterator[Case]:
    huge = ["1" * 4_000, "9" * 5_000, "1" + "0" * 400 + ".5", "0." + "1" * 400, "-" + "9" * 5_000]
    for way in WAYS:
        for number in [*_WHOLE, *huge]:
            zone = b'"zones":[{"zone":"body","start":0,"end":%b}]' % number.encode()
            yield _refused("articles", f"zone end {number[:30]}", zone, way)
        for number in [*_FIGURES, *huge]:
            figure = (
                b'"quantities":[{"metric":"killed","unit":"person","qualifier":"exact",'
                b'"printed":"x","value":%b}]' % number.encode()
            )
            yield _refused("claims", f"figure {number[:30]}", figure, way)
    for number in ("1.5", "-0.1", '"1"', "true", "2", "-1", "1e999", "[]"):
        agent = b'"extraction":{"method":"model","confidence":%b}' % number.encode()
        for plural in ("claims", "denials"):
            yield _refused(plural, f"confidence {number}", agent)


_INSTANTS: Final = (
    "2024-01-01T00:00:00", "2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01t00:00:00z",
    "2024-01-01T00:00:00.1234567Z", "2024-01-01T24:00:00Z", "2024-01-01T23:59:60Z",
    "2024-01-01T00:60:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-32T00:00:00Z",
    "2024-01-01T00:00:00+15:00", "2024-01-01T00:00:00+14:01", "2024-01-01T00:00:00+0100",
    "2024-01-01T00:00:00+1", "2024-01-01T00:00Z", "2024-01-01T00Z", "2024-W01-1T00:00:00Z",
    "2024-001T00:00:00Z", "20240101T000000Z", "10000-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
    "0999-12-31T00:00:00Z", "3000-01-01T00:00:00Z", "-2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00Z\n", " 2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z ",
    "\u0662\u0660\u0662\u0664-01-01T00:00:00Z", "2024\u201001\u201001T00:00:00Z", "2023-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z", "2024-04-31T00:00:00Z", "2024-02-30T00:00:00Z", "infinity",
    "-infinity", "now", "today", "epoch", "allballs", "", "0", "1704067200", "NaN", "null",
    "2024-01-01T00:00:00Z; --", "2024-01-01T00:00:00,5Z", "2024-01-01T00:00:00.Z",
)  # fmt: skip


@kind_of_case("instants")
def _instants(_: World) -> Iterator[Case]:
    for instant in _INSTANTS:
        for plural in ("articles", "claims", "denials"):
            more = b'"embargoed_until":' + json.dumps(instant).encode()
            yield _refused(plural, f"embargo {instant!r}", more)
        if instant == "2024-01-01":
            continue
        stated = b'"stated":{"earliest":%b}' % json.dumps(instant).encode()
        if instant != "2024-01-01":
            yield _refused("claims", f"stated {instant!r}", stated)
        for plural in PLURALS:
            target = f"/v1/{plural}?created_at__gte={quote(instant)}"
            yield Case(f"{plural} since {instant!r}", "GET", target, 400, "invalid-parameter")
        target = f"/v1/claims/{IDS['claims']}?as_of={quote(instant)}"
        yield Case(f"as of {instant!r}", "GET", target, 400, "invalid-parameter")
    for wrong in ("1", "1.5", "true", "[]", "{}", "1704067200"):
        for plural in ("articles", "claims", "denials"):
            yield _refused(plural, f"embargo {wrong}", b'"embargoed_until":' + wrong.encode())


@kind_of_case("fields")
def _fields(_: World) -> Iterator[Case]:
    unknown = (
        "x", "", " ", "Text", "TEXT", "text ", "__proto__", "constructor", "$ref", "_id", "a/b", "a~b",
        "\u202e", "\u0442ext", "id;--", "deleted", "visibility", "search", "doc", "key_id", "x" * 10_000,
        "😀",
    )  # fmt: skip
    for plural in PLURALS:
        for way in WAYS:
            for name in unknown:
                yield _refused(
                    plural, f"unknown {name[:20]!r}", json.dumps(name).encode() + b":1", way
                )
            for body in (b"[]", b"[{}]", b'"text"', b"null", b"1", b"true", b"1.5", b'""'):
                yield write(way, plural, body, status=422, code="invalid-record")
            for field in ("tags", "external_ids"):
                for value in (
                    "1",
                    '"a"',
                    "null",
                    "{}",
                    "[1]",
                    "[null]",
                    "[[]]",
                    "true",
                    '["a\\u0000"]',
                ):
                    if value == "null" and way == "PATCH":
                        continue  # removes
                    more = b'"%b":%b' % (field.encode(), value.encode())
                    yield _refused(plural, f"{field} {value}", more, way)
        for name in MINIMAL[plural]:
            rest = {k: v for k, v in MINIMAL[plural].items() if k != name}
            if name == "name":
                continue  # a source may be known by its description alone
            for wrong in (rest, {**rest, name: None}, {**rest, name: 1}, {**rest, name: {}}):
                title = f"{plural} without {name} {short(wrong)}"
                yield write("POST", plural, wrong, status=422, code="invalid-record", name=title)
        for name, own in (("id", NOBODY), ("version", 99), ("created_at", "2024-01-01T00:00:00Z"),
                          ("updated_at", "2024-01-01T00:00:00Z")):  # fmt: skip
            yield _refused(plural, f"own {name}", json.dumps({name: own}).encode()[1:-1], "PUT")
            yield _refused(plural, f"own {name}", json.dumps({name: own}).encode()[1:-1], "PATCH")
    for body in (b"{}", b'{"name":"x"}', b'{"name":"x","scopes":[]}', b'{"name":"x","scopes":["all"]}',
                 b'{"name":"x","scopes":["read","read"]}', b'{"name":"","scopes":["read"]}',
                 b'{"name":"x","scopes":"read"}', b'{"name":1,"scopes":["read"]}', b"[]", b"null",
                 b'{"name":"\\u0000","scopes":["read"]}', b'{"name":"x","scopes":["READ"]}',
                 b'{"name":"x","scopes":["read"],"hash":"x"}', b'{"name":"x","scopes":[null]}',
                 b'{"name":"x","scopes":["read"],"expires_at":"soon"}'):  # fmt: skip
        sent = head(content_type=JSON)
        yield Case(short(body), "POST", "/v1/keys", 422, "invalid-record", sent, body)


@kind_of_case("text")
def _text(_: World) -> Iterator[Case]:
    for plural in PLURALS:
        for way in WAYS:
            for text in ("\0", "a\0", "\0a", "a\0b", "\0" * 100):
                for member in ({WORDS[plural]: text}, {"note": text}, {"tags": [text]},
                               {text: 1}, {"external_ids": [{"namespace": text, "value": "x"}]}):  # fmt: skip
                    body = {**MINIMAL[plural], **member}
                    yield write(way, plural, body, status=422, code="invalid-record")
        for escape in ("%00", "%ff", "%c0%af", "%ed%a0%80", "%fe", "a%00b", "%80", "%f4%90%80%80"):
            path = f"/v1/{plural}/{escape}"
            for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
                yield Case(f"{method} {path}", method, path, 400, "invalid-path")
            for name in ("q", "tag", "external_namespace"):
                target = f"/v1/{plural}?{name}={escape}"
                yield Case(target, "GET", target, 400, "invalid-parameter")
            target = f"/v1/{plural}/by-external-id?namespace=a&value={escape}"
            yield Case(target, "GET", target, 400, "invalid-parameter")
        for lost in ("", "x" * 10_001):
            for way in WAYS:
                body = {**MINIMAL[plural], WORDS[plural]: lost}
                name = f"{way} {plural} of {len(lost)}"
                yield write(way, plural, body, status=422, code="invalid-record", name=name)


# --- ids, parameters, cursors -------------------------------------------------------------------


def odd_ids(identity: str) -> list[str]:
    """Spell an id in ways that are not the canonical one."""
    other = f"{identity[:-1]}\u0661"
    return [
        identity.upper(), identity.replace("-", ""), f"{{{identity}}}", f"urn:uuid:{identity}",
        f"{identity} ", f" {identity}", f"{identity}\n", identity[:-1], f"{identity}0", other,
        f"({identity})", f'"{identity}"', f"{identity};", identity.replace("-", "_"), "1", "0", "-1",
        "1_0", "null", "nil", "undefined", "NaN", "*", "%", "'", "' OR 1=1 --", "..", ".", "~", "é", "😀",
        "\u0661", "me", "0" * 36, "-" * 36, "g" * 36, "x" * 2_000, "[]", "{}", "$1", "\\", "\t", "a.json",
    ]  # fmt: skip


@kind_of_case("ids")
def _ids(_: World) -> Iterator[Case]:
    for plural in PLURALS:
        for odd in odd_ids(IDS[plural]):
            path = f"/v1/{plural}/{quote(odd, safe='')}"
            name = f"{plural} {short(odd)}"
            yield Case(f"GET {name}", "GET", path, 404, "not-found")
            yield Case(f"{name} revisions", "GET", f"{path}/revisions", 404, "not-found")
            yield Case(f"DELETE {name}", "DELETE", path, 404, "not-found", head(if_match="*"))
            target = f"/v1/{plural}?id__in={quote(odd)}"
            yield Case(f"{name} in a list", "GET", target, 400, "invalid-parameter")
        for version in (
            "0",
            "-1",
            "1.0",
            "01",
            "1e0",
            "+1",
            "\u0661",
            "99",
            "2147483648",
            "9" * 30,
            "x",
            " 1",
        ):
            path = f"/v1/{plural}/{IDS[plural]}/revisions/{quote(version)}"
            yield Case(path, "GET", path, 404, "not-found")
    for odd in odd_ids(IDS["claims"]):
        more = b'"parent_claim_id":' + json.dumps(odd).encode()
        yield _refused("claims", f"parent {short(odd)}", more)
        path = f"/v1/keys/{quote(odd, safe='')}"
        yield Case(f"GET {path[:80]}", "GET", path, 404, "not-found")


@cache
def document() -> dict[str, Any]:
    """Read the published OpenAPI document."""
    path = Path(__file__).parents[1] / "openapi" / "openapi.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference of the document."""
    while "$ref" in schema:
        found: Any = document()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


class Asked(NamedTuple):
    """A query parameter of an operation: what it takes, and what it does not."""

    good: str
    bad: tuple[str, ...]


_BAD_INTEGERS: Final = ("0", "-1", "201", "1.0", "1e1", "+1", " 1", "1 ", "01", "1_0", "0x1", "\u0661",
                        "NaN", "", "true", "9" * 30, "\uff11", "1;", "null")  # fmt: skip
_BAD_DATES: Final = ("2024-02-30", "2024-13-01", "2024", "2024-01", "24-01-01", "now", "")

_BAD_BOXES: Final = ("", "1", "1,2,3", "1,2,3,4,5", "1,2,3,x", " 1,2,3,4", "1, 2,3,4", "1e1,2,3,4",
                     "NaN,0,0,0", "181,0,0,0", "0,-91,0,0", "0,0,0,90.1", "0,2,0,1", "+1,2,3,4")  # fmt: skip


def asked(name: str, schema: dict[str, Any]) -> Asked:
    """Give values that a parameter takes, and some that it does not."""
    schema = resolved(schema)
    if schema.get("type") == "array":
        schema = resolved(schema["items"])
    if "enum" in schema:
        term = schema["enum"][0]
        return Asked(term, ("no-such-term", "", term.upper(), f" {term}", f"{term},{term}"))
    if schema.get("format") == "uuid":
        return Asked(NOBODY, ("1", "", NOBODY.upper()))
    if schema.get("type") == "integer":
        return Asked("1", _BAD_INTEGERS)
    if schema.get("type") == "boolean":
        return Asked("true", ("", "1", "True", "TRUE", "yes", "null"))
    if name.partition("__")[2] in {"gt", "gte", "lt", "lte"}:
        return Asked("2024-01-01", _BAD_DATES)
    if name in {"quantity_from", "quantity_to"}:
        return Asked("1", ("", "x", "NaN", "1e999", "0x1", '"1"', "true", "[]", "1_0"))
    good = {
        "url": "https://x.example/",
        "country_code": "KR",
        "sort": "created_at",
        "count": "exact",
        "place_country_code": "KR",
    }
    if name == "bbox":
        return Asked("170,-20,-170,20", _BAD_BOXES)
    return Asked(good.get(name, "x"), ("",))


def list_parameters(plural: str) -> dict[str, dict[str, Any]]:
    """Read the parameters of a list."""
    found = document()["paths"][f"/v1/{plural}"]["get"]["parameters"]
    return {p["name"]: p["schema"] for p in found if p.get("in") == "query"}


@kind_of_case("parameters")
def _parameters(_: World) -> Iterator[Case]:
    for plural in PLURALS:
        for name, schema in list_parameters(plural).items():
            values = asked(name, schema)
            many = resolved(schema).get("type") == "array"
            if not many and name not in {"cursor", "expand"}:
                pair = f"{name}={quote(values.good)}"
                target = f"/v1/{plural}?{pair}&{pair}"
                yield Case(target, "GET", target, 400, "duplicate-parameter")
            for bad in values.bad:
                target = f"/v1/{plural}?{name}={quote(bad)}"
                unknown = (406, "not-acceptable")  # of formats, as for the Accept header
                refused = unknown if name == "format" and bad else (400, "invalid-parameter")
                yield Case(target, "GET", target, *refused)
            target = f"/v1/{plural}?{name.upper()}={quote(values.good)}"
            yield Case(target, "GET", target, 400, "unknown-parameter")
            target = f"/v1/{plural}?{name}[]={quote(values.good)}"
            yield Case(target, "GET", target, 400, "unknown-parameter")
        for name in ("", "x", "%20limit", "limit%20", "offset", "page", "fields", "select", "order",
                     "__proto__", "$where", "1", "id", "text__like", "or", "%F0%9F%98%80"):  # fmt: skip
            target = f"/v1/{plural}?{name}=1"
            yield Case(target, "GET", target, 400, "unknown-parameter")
        for sort in ("", "-", "id", "+created_at", "--created_at", "created_at,updated_at",
                     "created_at desc", "CREATED_AT", "1", "text;--", "-created_at ", "position",
                     "-position"):  # fmt: skip
            target = f"/v1/{plural}?sort={quote(sort)}"
            yield Case(target, "GET", target, 400, "invalid-parameter")
        for expand in ("x", ",", "sources,", "sources,,articles", "*", "SOURCES", "sources.name"):
            target = f"/v1/{plural}?expand={quote(expand)}"
            yield Case(target, "GET", target, 400, "invalid-parameter")
        for alone in ("external_value=x",):
            target = f"/v1/{plural}?{alone}"
            yield Case(target, "GET", target, 400, "invalid-parameter")
        for query in ("", "namespace=x", "value=x", "namespace=&value=x", "namespace=x&value="):
            target = f"/v1/{plural}/by-external-id?{query}"
            yield Case(target, "GET", target, 400, "invalid-parameter")
    for path in ("/v1/me", "/v1/vocabularies", "/v1/problems", "/health/live", "/health/ready",
                 "/openapi.json", "/v1/problems/gone", f"/v1/claims/{IDS['claims']}"):  # fmt: skip
        yield Case(f"{path}?x=1", "GET", f"{path}?x=1", 400, "unknown-parameter")


def mutated(cursor: str) -> list[str]:
    """Write what is no cursor, and nearly is."""
    swapped = "A" if cursor[0] != "A" else "B"
    found = {
        "x", "=", "é", "%", " ", "null", "[]", "{}", "0", "-1", "MQ", "MQ==", "a" * 2_001,
        cursor + "=", cursor + "A", cursor[:-1], cursor.upper(), cursor[::-1], f" {cursor}",
        f"{cursor}\n", f"{cursor} ", swapped + cursor[1:], cursor * 2, cursor[4:], "'; --",
    } - {cursor}  # fmt: skip
    found |= {
        cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        for at in range(0, len(cursor), 5)
    }
    return sorted(found)


@kind_of_case("cursors")
def _cursors(world: World) -> Iterator[Case]:
    for given in mutated(world.since):
        for path in ("/v1/changes", "/v1/changes/stream"):
            code = "invalid-cursor" if len(given) <= 500 else "invalid-parameter"
            target = f"{path}?since={quote(given, safe='')}"
            yield Case(f"{path} {short(given)}", "GET", target, 400, code)
    for plural, cursor in world.cursors.items():
        target = f"/v1/changes?since={cursor}"
        yield Case(f"{plural}'s as since", "GET", target, 400, "cursor-mismatch")
        target = f"/v1/{plural}?cursor={world.since}"
        yield Case(f"since in {plural}", "GET", target, 400, "cursor-mismatch")
        for given in mutated(cursor):
            target = f"/v1/{plural}?limit=1&cursor={quote(given, safe='')}"
            yield Case(f"{plural} {short(given)}", "GET", target, 400, "invalid-cursor")
        for other in PLURALS:
            if other != plural:
                target = f"/v1/{other}?cursor={cursor}"
                yield Case(f"{plural}'s in {other}", "GET", target, 400, "cursor-mismatch")
        for more in ("sort=created_at", "tag=x", "q=x"):
            target = f"/v1/{plural}?cursor={cursor}&{more}"
            yield Case(f"{plural} with {more}", "GET", target, 400, "cursor-mismatch")
        for path in (f"/v1/{plural}/{IDS[plural]}/revisions", "/v1/keys", "/v1/audit"):
            yield Case(
                f"{plural}'s in {path}", "GET", f"{path}?cursor={cursor}", 400, "cursor-mismatch"
            )


@kind_of_case("search")
def _search(_: World) -> Iterator[Case]:
    plurals = cycle(PLURALS)
    for words in _OPERATORS + tuple(w for w in NAUGHTY if "\0" not in w):
        plural = next(plurals)
        yield Case(f"{plural} {short(words)}", "GET", f"/v1/{plural}?q={quote(words)}&limit=1", 200)
    for words in _OPERATORS:
        yield Case(f"tag {short(words)}", "GET", f"/v1/claims?tag={quote(words)}&limit=1", 200)
        target = f"/v1/sources?name__startswith={quote(words)}&limit=1"
        yield Case(f"starts with {short(words)}", "GET", target, 200)
        target = f"/v1/sources?name={quote(words)}&limit=1"
        yield Case(f"name {short(words)}", "GET", target, 200)


_OPERATORS: Final = (
    "&", "|", "!", "<->", "<2>", ":*", "a:*", "a & b", "a | | b", "!!a", "!( a", "((", "))", "a <-> <-> b", "%", "_",
    "%_%", "\\", "\\%", "*", ".*", "[a-z]+", "(?R)", "^$", "a{1000000}", '"', '""', '"a', 'a"b"c', "-", "--", "-" * 400,
    "- a" * 100, "or", "or or", "OR", '"or"', "-or", "'", "''", "' or ''='", "$$", "$1", "a:b:c", "::text", "a\\'b",
    "(" * 400, '"' * 399, "a " * 249, "a or " * 99, "-a " * 160, "<" * 400, "\u201ca\u201d", "ﷺ" * 400, "\u0301" * 400,
)  # fmt: skip


# --- headers, media types, methods --------------------------------------------------------------

_NO_TAGS: Final = ("", "abc", '"a', 'a"', '"a"x', '*, "a"', '"a" "b"', "W/", "W/abc", 'w/"a"', '"a",', ',"a"',
                   '"a";"b"', "**", "'a'", '"a b"', '"a\tb"', "\xe9", '"\xe9"', "0", "1", "null")  # fmt: skip
_HOSTS: Final = ("", " ", "a b", "localhost:", "localhost:x", "localhost:123456", "user@localhost", "[::1", "localhost/",
                 "localhost,evil.example", "http://localhost", ".", "%6cocalhost", "::1", "\xe9", "a\\b")  # fmt: skip
_FOREIGN: Final = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "127.0.0.2", "[::2]",
                   "0.0.0.0", "0x7f000001", "2130706433", "127.1", "localhost.", "LOCALHOST.evil", "example:8000")  # fmt: skip


_NO_KEYS: Final = (("",), ("x" * 256,), ("é",), ("a\tb",), ("a", "b"), ("a", "a"))


@kind_of_case("headers")
def _headers(_: World) -> Iterator[Case]:
    for plural in PLURALS:
        path, name = f"/v1/{plural}/{IDS[plural]}", f"{plural} "
        body = json.dumps(MINIMAL[plural]).encode()
        for tag in _NO_TAGS:
            sent = head(if_match=tag.encode("latin-1"))
            for method, kind in (("PUT", JSON), ("PATCH", MERGE_PATCH), ("DELETE", "")):
                more = head(content_type=kind) if kind else ()
                given = body if kind else b""
                title = f"{method} {name} If-Match {tag!r}"
                yield Case(title, method, path, 400, "invalid-header", sent + more, given)
            none = head(if_none_match=tag.encode("latin-1"))
            yield Case(
                f"GET {name} If-None-Match {tag!r}", "GET", path, 400, "invalid-header", none
            )
        for tag in ('"a"', 'W/"a"', '"a", "b"', f'"{IDS[plural]}.0.1"', f'"{IDS[plural]}.99.1"',
                    f'W/"{IDS[plural]}.1.1"', f'"{NOBODY}.1.1"', '""'):  # fmt: skip
            sent = head(if_match=tag)
            for method, kind in (("PUT", JSON), ("PATCH", MERGE_PATCH), ("DELETE", "")):
                more = head(content_type=kind) if kind else ()
                given = body if kind else b""
                title = f"{method} {name} If-Match {tag}"
                yield Case(title, method, path, 412, "precondition-failed", sent + more, given)
        for method, kind in (("PUT", JSON), ("PATCH", MERGE_PATCH), ("DELETE", "")):
            more = head(content_type=kind) if kind else ()
            given = body if kind else b""
            title = f"{method} {name} without If-Match"
            yield Case(title, method, path, 428, "precondition-required", more, given)
        for way in WAYS:
            case = write(way, plural, MINIMAL[plural], status=400, code="invalid-header")
            for number, keys in enumerate(_NO_KEYS if way == "POST" else (("abc",), *_NO_KEYS)):
                sent = (*case.headers, *((b"idempotency-key", k.encode("latin-1")) for k in keys))
                yield case._replace(name=f"{way} {name} Idempotency-Key {number}", headers=sent)
    for host in _HOSTS:
        for path in ("/v1/claims", "/health/live", "/nothing"):
            name = f"{path} for {host!r}"
            yield Case(name, "GET", path, 400, "invalid-header", host=host.encode("latin-1"))
    for host in _FOREIGN:
        for path in ("/v1/claims", "/health/live", "/nothing"):
            yield Case(f"{path} for {host!r}", "GET", path, 421, "wrong-host", host=host.encode())
    long = head(x_long="x" * 17_000)
    many = tuple((b"x-%d" % n, b"x") for n in range(500))
    for plural in PLURALS:
        path = f"/v1/{plural}"
        yield Case(f"{path} 17 kB", "GET", path, 431, "headers-too-large", long)
        yield Case(f"{path} 500 headers", "GET", path, 431, "headers-too-large", many)
        for target in (f"{path}?q={'x' * 8_192}", f"{path}/{'x' * 8_192}", f"{path}?{'&' * 9_000}"):
            yield Case(f"{target[:20]} 8 KiB", "GET", target, 414, "uri-too-long")


_KINDS: Final = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp",
                 "application/json, text/plain", "application/json; charset=latin-1", "application/json; charset=utf-16",
                 "application/json;charset=utf-8;x=y", "application/ld+json", "application/json-patch+json", "application/jsön",
                 "application/*", "*/*", "json", "application", "application/xml", "text/json", "application/ json", "/",
                 "application/json/x", "application/octet-stream", ";", "application/problem+json")  # fmt: skip


@kind_of_case("media types")
def _media_types(_: World) -> Iterator[Case]:
    for plural in PLURALS:
        for way in WAYS:
            case = write(way, plural, MINIMAL[plural], status=415, code="unsupported-media-type")
            rest = tuple(pair for pair in case.headers if pair[0] != b"content-type")
            for kind in _KINDS:
                sent = (*rest, *head(content_type=kind.encode("latin-1", "replace")))
                yield case._replace(name=f"{way} {plural} as {kind!r}", headers=sent)
            yield case._replace(name=f"{way} {plural} as nothing", headers=rest)
            for second in (JSON, "text/plain", ""):
                sent = (*case.headers, *head(content_type=second))
                yield case._replace(name=f"{way} {plural} and as {second!r}", headers=sent)
            swapped = JSON if way == "PATCH" else MERGE_PATCH
            sent = (*rest, *head(content_type=swapped))
            yield case._replace(name=f"{way} {plural} as {swapped}", headers=sent)
            for coding in (
                "gzip",
                "br",
                "deflate",
                "zstd",
                "compress",
                "identity, gzip",
                "x",
                "gzip, gzip",
            ):
                sent = (*case.headers, *head(content_encoding=coding))
                yield case._replace(name=f"{way} {plural} in {coding}", headers=sent)
    for kind in (JSON, "text/plain", "", "application/json-seq", "application/x-ndjson; charset=x"):
        sent = head(content_type=kind)
        name = f"import as {kind!r}"
        yield Case(name, "POST", "/v1/import", 415, "unsupported-media-type", sent, b"{}")


_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def filled(path: str) -> str:
    """Write a path that leads to nothing, where it names something."""
    identity = "0a1b2c3d4eff" if path.startswith("/v1/keys") else NOBODY
    path = path.replace("{identity_id}", NOBODY).replace("{id}", identity)
    return path.replace("{version}", "1").replace("{name}", "none")


@kind_of_case("methods and paths")
def _methods(_: World) -> Iterator[Case]:
    for path, operations in document()["paths"].items():
        for method in (*_METHODS, "TRACE", "PROPFIND", "LINK", "PURGE"):
            if method.lower() not in operations:
                yield Case(f"{method} {path}", method, filled(path), 405, "method-not-allowed")
        yield Case(f"OPTIONS {path}", "OPTIONS", filled(path), 204)
        yield Case(f"{path}/", "GET", filled(path) + "/", 404, "not-found")
        yield Case(f"/{path}", "GET", "/" + filled(path), 404, "not-found")
        yield Case(f"{path} in capitals", "GET", filled(path).upper(), 404, "not-found")
        if "get" in operations or not path.endswith("}"):
            yield Case(f"{path}.json", "GET", filled(path) + ".json", 404, "not-found")
    for path in ("/v1", "/v1/", "/v2/claims", "/admin", "/.env", "/.git/config", "/..", "/../etc/passwd", "/v1/../v1/claims",
                 "/v1/./claims", "/%2e%2e/etc/passwd", "/v1%2Fclaims%2F", "/v1/claims;x=1", "/v1/claims%20", "/v1/claims%3Flimit=1",
                 "/v1/Claims", "/v1/claim", "/metrics/x", "/wp-login.php", "/v1/cla%69ms/", "/%F0%9F%98%80", "/docs/x"):  # fmt: skip
        for method in ("GET", "POST"):
            yield Case(f"{method} {path}", method, path, 404, "not-found")


# --- who may do what ----------------------------------------------------------------------------

KEYS: Final[Mapping[str, tuple[str, ...] | None]] = {
    FULL: None,
    "revoked": None,
    "expired": None,
    "useless": ("webhooks",),
    "useless for webhooks": ("audit:read",),
}
"""Keys by name, with their scopes; null is all of them. One more is there for each set of scopes
that suffices for an operation, see :func:`sufficient`."""
BAD: Final = ("malformed", "unknown", "forged", "truncated", "basic", "twice", "revoked", "expired")
"""What is sent instead of a key that works."""


def key_name(scopes: list[str]) -> str:
    """Name a key after what it may do."""
    return "+".join(sorted(scopes))


@cache
def sufficient() -> dict[str, tuple[str, ...]]:
    """List a key for each set of scopes that the document says suffices for something."""
    every = [
        choice["key"]
        for operations in document()["paths"].values()
        for operation in operations.values()
        if isinstance(operation, dict)
        for choice in operation.get("security", ())
        if choice.get("key")
    ]
    return {key_name(scopes): tuple(scopes) for scopes in every}


def admitted(method: str, path: str) -> tuple[int, str | None]:
    """Say what an empty request gets that may do what it asks, but names nothing."""
    if "by-external-id" in path or path.endswith("/groups"):
        return 400, "invalid-parameter"
    if path.endswith("/match") and method == "get":
        return 400, "invalid-parameter"
    if path.endswith("/resume"):
        return 200, None
    if method == "get":
        return (404, "not-found") if "{" in path else (200, None)
    if "{id}" not in path or path.endswith(("identities", "rotate", "replay", "anchors")):
        return 415, "unsupported-media-type"
    if path == "/v1/webhooks/{id}" and method == "patch":
        return 415, "unsupported-media-type"
    if path.endswith(("{identity_id}", "/unmerge")) or path.startswith(
        ("/v1/keys", "/v1/webhooks")
    ):
        return 404, "not-found"
    return 428, "precondition-required"


@kind_of_case("access")
def _access(_: World) -> Iterator[Case]:
    for path, operations in document()["paths"].items():
        if path.startswith("/health/"):
            continue  # nobody's key is looked at there
        for method, operation in operations.items():
            if method.upper() not in _METHODS:
                continue
            for key in BAD:
                name = f"{method} {path} with {key}"
                yield Case(name, method.upper(), filled(path), 401, "unauthorized", key=key)
            yield from _by_scope(method, path, operation.get("security", []))


def _by_scope(method: str, path: str, choices: list[dict[str, list[str]]]) -> Iterator[Case]:
    """Ask without a key, with one that suffices and with one that does not."""
    status, code = admitted(method, path)
    case = Case(f"{method} {path}", method.upper(), filled(path), status, code)
    # A stream goes on; its HEAD takes the same, and ends.
    let_in = case._replace(method="HEAD") if path.endswith("/stream") else case
    if not choices or {} in choices:
        yield let_in._replace(name=f"{case.name} without", key=None)
    else:
        refused = case._replace(name=f"{case.name} without", status=401, code="unauthorized")
        yield refused._replace(key=None)
    for choice in choices:
        if choice.get("key"):
            key = key_name(choice["key"])
            yield let_in._replace(name=f"{case.name} with {key}", key=key)
    if any(choice.get("key") for choice in choices):
        key = "useless for webhooks" if path.startswith("/v1/webhooks") else "useless"
        refused = case._replace(name=f"{case.name} with a useless key", status=403)
        yield refused._replace(code="forbidden", key=key)


# --- import -------------------------------------------------------------------------------------


@kind_of_case("import")
def _import(_: World) -> Iterator[Case]:
    def sent(line: bytes, status: int, code: str, name: str = "") -> Iterator[Case]:
        for query in ("", "?dry_run=true", "?atomic=true"):
            title = f"{name or short(line)} {query}"
            media = head(content_type=NDJSON)
            target = f"/v1/import{query}"
            yield Case(title, "POST", target, 200, None, media, line, line=(status, code))

    for body in not_json():
        if body.strip(b" \t\r") and b"\n" not in body:
            yield from list(sent(body, 400, "malformed-json"))[:1]
    for line in (b"[]", b"1", b"null", b'"x"', b"{}", b'{"type":"planet","data":{}}', b'{"type":"source"}',
                 b'{"type":"source","foo":1,"data":{}}', b'{"type":"source","op":"delete"}', b'{"type":1,"data":{}}',
                 b'{"type":"source","op":"drop","data":{}}', b'{"type":"claim","data":[]}', b'{"type":"claim","data":{}}',
                 b'{"type":"claim","data":{"text":"\\u0000"}}', b'{"type":"claim","data":{"text":"x","x":1}}',
                 b'{"type":"claim","id":"1","data":{"text":"x"}}', b'{"type":"claim","id":1,"data":{"text":"x"}}',
                 b'{"type":"claim","external_id":"x","data":{"text":"x"}}', b'{"type":"claim","data":{"text":1}}',
                 b'{"type":"claim","external_id":{"namespace":"","value":""},"data":{"text":"x"}}',
                 b'{"type":"claim","if_match":1,"data":{"text":"x"}}', b'{"type":"CLAIM","data":{"text":"x"}}'):  # fmt: skip
        yield from sent(line, 422, "invalid-record")
    nobody = json.dumps(
        {"type": "claim", "data": {"text": "x", "parent_claim_id": NOBODY}}
    ).encode()
    yield from sent(nobody, 422, "unknown-reference")
    gone = json.dumps({"type": "claim", "op": "delete", "id": NOBODY}).encode()
    yield from sent(gone, 404, "not-found")
    yield from sent(b"[" * 33 + b"]" * 33, 400, "too-deep")
    reviews = head(content_type="application/ld+json")
    for body in (b"[]", b"1", b"null", b'"x"', b"{}", b'{"@type":"Claim"}', b"[null,[[]]]"):
        for query in ("", "?dry_run=true", "?atomic=true"):
            title, target = f"{short(body)} as reviews {query}", f"/v1/import{query}"
            yield Case(title, "POST", target, 422, "invalid-record", reviews, body)
    for body in not_json():
        title = f"{short(body)} as reviews"
        yield Case(title, "POST", "/v1/import", 400, "malformed-json", reviews, body)
    long = b'{"type":"claim","data":{"text":"' + b"x" * _MEBIBYTE + b'"}}'
    yield from sent(long, 413, "body-too-large", "a line of a mebibyte")
    for query in (
        "atomic=1",
        "atomic=",
        "atomic=yes",
        "dry_run=True",
        "dry_run=true&dry_run=true",
        "x=1",
    ):
        code = "unknown-parameter" if query == "x=1" else "invalid-parameter"
        code = "duplicate-parameter" if "&" in query else code
        media, target = head(content_type=NDJSON), f"/v1/import?{query}"
        yield Case(target, "POST", target, 400, code, media, b"{}")


@kind_of_case("tables")
def _tables(_: World) -> Iterator[Case]:
    media, target = head(content_type="text/csv"), "/v1/import?type=claim"
    for body in (
        b"", b"\r\n", b",,\r\n", b"nonsense\nx\n", b"text,text\n", b'text\n"', b'text\n"x"x\n', b"text\nx,y\n",
        b"\xff\xfet\0e\0", b"text\n\xe9\n", b"text\rx\ry", b"text\n" + b"x" * (_MEBIBYTE + 1), b'text\n"' + b"\n" * (_MEBIBYTE + 1),
        b"tags," * 600 + b"\n", b"external_id.\nx\n", b"text;note,tags\n", b'{"type":"claim"}\n',
    ):  # fmt: skip
        yield Case(short(body), "POST", target, 400, "malformed-table", media, body)
    for query in ("", "&dry_run=true", "&atomic=true"):
        for body in (
            b"text\n\0\n", b"text,kind\nx,y\n", b"text,tags\nx,y\n", b"text,tags\nx," + b"[" * 40 + b"\n", b"note\nx\n",
            b"text,claimant\nx,y\n", b"text,created_at\nx,y\n", b"text,quantity.value\nx,7\n", b"id,text\n1,x\n",
            b'text,stated\nx,"{""a"":1}"\n', b"text,note\nx,1E+15\n", b"version,text\n0,x\n",
        ):  # fmt: skip
            if query == "&dry_run=true":
                yield Case(f"{short(body)} {query}", "POST", target + query, 200, None, media, body)
            else:
                got = (422, "invalid-record")
                title = f"{short(body)} {query}"
                yield Case(title, "POST", target + query, 200, None, media, body, line=got)
    yield Case(
        "a table without a type",
        "POST",
        "/v1/import",
        400,
        "invalid-parameter",
        media,
        b"text\nx\n",
    )
    lines = head(content_type=NDJSON)
    yield Case("lines with a type", "POST", target, 400, "invalid-parameter", lines, b"{}")


# --- text that is odd and allowed ---------------------------------------------------------------

NAUGHTY: Final = (
    "undefined", "undef", "null", "NULL", "(null)", "nil", "NIL", "true", "false", "True", "None", "hasOwnProperty", "__proto__",
    "constructor", "then", "NaN", "Infinity", "-Infinity", "0", "1", "-0", "1/0", "0x0", "1e999", "1E+02", "1,000.00", "1.000,00",
    "0123", "\u0661\u0662\u0663", "\u00bd", "¼½¾", "\\", "\\N", "\\\\.", "\\x00", "\\u0000", '"', "'", "''", '""', "`", "$$", "$1", "$HOME", "%s%d%n", "%00",
    "%", "{0}{name}", "${jndi:ldap://x}", "{{7*7}}", "<%= 7*7 %>", "#{7*7}", ":note", "::text", "(a,b)", "{a,b}", '{"a":1}', "[1]", "--",
    "-- -", "/* */", "'; DROP TABLE claims; --", "1 OR 1=1", "' OR ''='", "admin'--", "_%_", "*", "a & b | !c <-> d:*", '"unfinished or -',
    "<script>alert(1)</script>", "</title><!--", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "]]>", "<![CDATA[", "<?xml?>",
    "&lt;", "&#0;", "../../etc/passwd", "C:\\con\\con", "/dev/null", "CON", "=1+1", "+1", "-1+1", "@SUM(1)", "=cmd|' /C calc'!A0", "; ls", "| ls",
    "$(ls)", "`ls`", "\t", " ", "  leading and trailing  ", "line\nfeed", "carriage\r\nreturn", "\r", "\n", "\x01\x02\x08\x0b\x0c\x1b[31m\x7f", "\x80\x85\x9f\xad",
    "\u200b\u200c\u200d\u2060\ufeff", "\u2028\u2029", "\u202eright to left\u202c", "\u2066\u2067\u2069", "\ufffd", "\ufffe\uffff\U0010ffff", "\ue000\uf8ff", "\U000e0001\U000e0041",
    "é", "e\u0301", "ﬁ", "İıſß", "Ω\u2126", "\u0301", "a" + "\u0301" * 200, "Z\u0337\u0322a\u0334l", "العربية", "עברית", "\u0627\u064b", "ﷺ", "日本語", "한국어", "ㅎㅏㄴ",
    "ក្រុង", "ภาษาไทย", "हिन्दी", "Ελληνικά", "русский", "𐍈", "𝒳𝔘", "𠜎𠜱", "ˈaɪ", "ℵ∞", "😀", "👩\u200d👩\u200d👧\u200d👦", "🇰🇷", "🏳️\u200d🌈", "👍🏿", "1️⃣",
    "x" * 100, "😀" * 100, "\u3000", "\u180e", "﷽", "true\u0020", "a\u00a0b", "\x7f",
)  # fmt: skip


@kind_of_case("naughty strings")
def _naughty(_: World) -> Iterator[Case]:
    for plural in PLURALS:
        for number, text in enumerate(NAUGHTY):
            pair = {"namespace": f"corpus-{number}", "value": text[:400]}
            kept = {WORDS[plural]: text, "note": text, "tags": [text[:100]], "external_ids": [pair]}
            sent = {**MINIMAL[plural], **kept}
            identity = uuid5(NAMESPACE_URL, f"{plural}/{number}")
            headers = head(content_type=JSON, if_none_match="*")
            body = json.dumps(sent, ensure_ascii=bool(number % 2)).encode()
            target = f"/v1/{plural}/{identity}"
            yield Case(
                f"{plural} {short(text)}", "PUT", target, 201, None, headers, body, kept=kept
            )
