"""What a change of the OpenAPI document breaks for clients that were written before it.

Requests may only become freer, answers only richer: what a client sends has to stay acceptable,
and what it gets has to stay what it was told, in every part that it may rely on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_OPEN: Final = "x-extensible-enum"
_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FORMS: Final = ("pattern", "format", "multipleOf")
_UNIONS: Final = ("anyOf", "oneOf")
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))


def breaks(old: Json, new: Json) -> list[str]:
    """List what breaks, each with its place."""
    return list(dict.fromkeys(_Comparison(old, new).found()))


class _Comparison:
    """Two documents side by side: in the one, clients were written; the other one is served."""

    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str, str]] = set()

    def found(self) -> Iterator[str]:
        """Yield what breaks."""
        for section in ("paths", "webhooks"):
            for path, item in self._old.get(section, {}).items():
                now = self._new.get(section, {}).get(path)
                if now is None:
                    yield f"{path}: is gone"
                    continue
                for method in _METHODS:
                    if method in item:
                        place = f"{method.upper()} {path}"
                        yield from self._operation(place, item[method], now.get(method), section)

    def _operation(self, at: str, old: Json, new: Json | None, section: str) -> Iterator[str]:
        if new is None:
            yield f"{at}: is gone"
            return
        if old.get("operationId") != new.get("operationId"):
            yield f"{at}: operationId is {new.get('operationId')}, was {old.get('operationId')}"
        yield from self._security(at, old.get("security", []), new.get("security", []))
        # A webhook's request goes to the client, whose answers the service reads.
        sent, got = ("request", "answer") if section == "paths" else ("answer", "request")
        yield from self._parameters(at, old, new, sent)
        yield from self._request(at, old.get("requestBody"), new.get("requestBody"), sent)
        yield from self._answers(at, old["responses"], new["responses"], got)

    # --- who may ask -------------------------------------------------------------------------

    def _security(self, at: str, old: list[Json], new: list[Json]) -> Iterator[str]:
        """Each way in which one could come in has to be there still, or an easier one."""
        for way in old or [{}]:
            if not any(_asks_no_more(each, way) for each in new or [{}]):
                yield f"{at}: security {way or 'none'} no longer does"

    # --- what is sent ------------------------------------------------------------------------

    def _parameters(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        before, now = self._named(self._old, old), self._named(self._new, new)
        for key, parameter in before.items():
            place = f"{at} {key[0]} {key[1]}"
            if key not in now:
                yield f"{place}: is gone"
                continue
            found = now[key]
            if side == "request" and found.get("required") and not parameter.get("required"):
                yield f"{place}: is required"
            if side == "answer" and parameter.get("required") and not found.get("required"):
                yield f"{place}: is no longer always there"
            for how in ("style", "explode"):
                if _how(parameter, how) != _how(found, how):
                    yield f"{place}: {how} is {_how(found, how)}"
            yield from self._schema(place, parameter["schema"], found["schema"], side)
        for key in now.keys() - before.keys():
            if side == "request" and now[key].get("required"):
                yield f"{at} {key[0]} {key[1]}: is new and required"

    def _named(self, document: Json, operation: Json) -> dict[tuple[str, str], Json]:
        found = (_resolved(document, each) for each in operation.get("parameters", ()))
        return {(each["in"], each["name"]): each for each in found}

    def _request(self, at: str, old: Json | None, new: Json | None, side: str) -> Iterator[str]:
        if old is None:
            if new is not None and new.get("required"):
                yield f"{at} body: is new and required"
            return
        if new is None:
            yield f"{at} body: is gone"
            return
        if new.get("required") and not old.get("required"):
            yield f"{at} body: is required"
        yield from self._content(f"{at} body", old, new, side)

    # --- what comes back ---------------------------------------------------------------------

    def _answers(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        for status, answer in old.items():
            if status not in new:
                yield f"{at} {status}: is gone"
                continue
            before, now = _resolved(self._old, answer), _resolved(self._new, new[status])
            for name in before.get("headers", {}).keys() - now.get("headers", {}).keys():
                yield f"{at} {status}: header {name} is gone"
            yield from self._content(f"{at} {status}", before, now, side)
        for status in new.keys() - old.keys():
            if status.startswith("2") and side == "answer":
                yield f"{at} {status}: is a new success"

    def _content(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        before, now = old.get("content", {}), new.get("content", {})
        for media, told in before.items():
            if media not in now:
                yield f"{at}: {media} is gone"
            elif "schema" in told:
                yield from self._schema(at, told["schema"], now[media].get("schema", {}), side)
        if not before and now and side == "answer":
            yield f"{at}: has a body"

    # --- schemas -----------------------------------------------------------------------------

    def _schema(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        (name, before), (other, now) = _opened(self._old, old), _opened(self._new, new)
        if _tells_apart(before, now):
            yield from self._split(name or at, before, now, side)
            return
        if other in _members(before) and not _unions(now):
            yield from self._left(at, before, other, now, side)
            return
        yield from _types(at, before, now, side)
        if name or other:
            if (name, other, side) in self._seen:
                return
            self._seen.add((name, other, side))
            at = name or at
        yield from _terms(at, before, now, side)
        yield from _limits(at, before, now, side)
        yield from self._properties(at, before, now, side)
        for inner in ("items", "additionalProperties"):
            if isinstance(before.get(inner), dict) and isinstance(now.get(inner), dict):
                yield from self._schema(f"{at}[]", before[inner], now[inner], side)
        if side == "request" and _closed(now) and not _closed(before):
            yield f"{at}: takes no other properties"
        if _tag(before) != _tag(now):
            yield f"{at}: the discriminator is {_tag(now)}, was {_tag(before)}"
        yield from self._union(at, before, now, side)

    def _split(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        """Compare an object with each member of the union that it has become."""
        tag, places = _tag(new) or "", new["discriminator"]["mapping"]
        terms = _allowed(_resolved(self._old, old["properties"][tag])) or set()
        for term in sorted(terms - set(map(repr, places))):
            yield f"{at}.{tag}: takes no {term} any more"
        for term, place in places.items():
            told = {tag: {"type": "string", "const": term}}
            one = old | {"properties": old["properties"] | told}
            yield from self._schema(f"{at}[{term}]", one, {"$ref": place}, side)

    def _left(self, at: str, old: Json, name: str, new: Json, side: str) -> Iterator[str]:
        """Compare a union with the one of its members that is left."""
        members, nulls = _members(old), [_kinds(each) & {"null"} for each in (old, new)]
        if side == "request":
            yield from (f"{at}: takes no {each}" for each in sorted(members.keys() - {name}))
        if nulls[0] != nulls[1] and bool(nulls[0]) == (side == "request"):
            yield f"{at}: can be null" if nulls[1] else f"{at}: can't be null any more"
        yield from self._schema(f"{at}({name})", members[name], members[name], side)

    def _properties(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        was, is_ = set(old.get("required", ())), set(new.get("required", ()))
        for name, schema in before.items():
            if name not in now:
                yield f"{at}.{name}: is gone"
            else:
                yield from self._schema(f"{at}.{name}", schema, now[name], side)
        if side == "request":
            for name in sorted(is_ - was):
                yield f"{at}.{name}: is {'required' if name in before else 'new and required'}"
        else:
            for name in sorted((was - is_) & now.keys()):
                yield f"{at}.{name}: is no longer always there"

    def _union(self, at: str, old: Json, new: Json, side: str) -> Iterator[str]:
        """Compare the members of unions: by name, and else by place."""
        before, now = _members(old), _members(new)
        if not before and not now:
            return
        if not before or not now:
            yield f"{at}: is {'a' if now else 'no'} union"
            return
        for name in before.keys() | now.keys():
            if name not in now and side == "request":
                yield f"{at}: takes no {name}"
            elif name not in before and side == "answer":
                yield f"{at}: can be {name}"
            elif name in before and name in now:
                yield from self._schema(f"{at}({name})", before[name], now[name], side)


def _resolved(document: Json, found: Json) -> Json:
    """Follow a reference within a document; what stands beside it stays."""
    while "$ref" in found:
        target: Any = document
        for step in str(found["$ref"]).removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        found = {k: v for k, v in found.items() if k != "$ref"} | target
    return _joined(document, found) if "allOf" in found else found


def _joined(document: Json, found: Json) -> Json:
    """Make one schema of those that hold together; what each has of its own stays."""
    whole: Json = {"properties": {}, "required": []}
    for part in [*found["allOf"], {k: v for k, v in found.items() if k != "allOf"}]:
        schema = _resolved(document, part)
        properties = whole["properties"] | schema.get("properties", {})
        required = [*whole["required"], *schema.get("required", ())]
        whole |= schema | {"properties": properties, "required": required}
    return whole


def _opened(document: Json, schema: Json) -> tuple[str, Json]:
    """Follow references, also those beside null, which joins the types; give the name as well."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found = _resolved(document, schema)
    others = [member for member in _unions(found) if member != {"type": "null"}]
    if len(others) != 1 or len(_unions(found)) != 2:
        return name, found
    inner, other = _opened(document, others[0])
    rest = {k: v for k, v in found.items() if k not in _UNIONS}
    return name or inner, rest | other | {"type": sorted(_kinds(other) | {"null"})}


def _asks_no_more(new: Mapping[str, list[str]], old: Mapping[str, list[str]]) -> bool:
    return all(name in old and set(new[name]) <= set(old[name]) for name in new)


def _how(parameter: Json, what: str) -> Any:
    style = parameter.get("style", "form" if parameter["in"] in ("query", "cookie") else "simple")
    if what == "style":
        return style
    return parameter.get("explode", style == "form")


def _kinds(schema: Json) -> frozenset[str]:
    """Name the types that a value can have."""
    found = schema.get("type")
    if found is None and _unions(schema):
        null = {"type": "null"} in _unions(schema)
        return frozenset({"union", "null"} if null else {"union"})
    if found is None:
        return _TYPES
    kinds = {found} if isinstance(found, str) else set(found)
    return frozenset(kinds | {"integer"} if "number" in kinds else kinds)


def _types(at: str, old: Json, new: Json, side: str) -> Iterator[str]:
    before, now = _kinds(old), _kinds(new)
    lost, gained = before - now, now - before
    if side == "request" and lost:
        yield f"{at}: can't be {', '.join(sorted(lost))} any more"
    if side == "answer" and gained:
        yield f"{at}: can be {', '.join(sorted(gained))}"


def _allowed(schema: Json) -> set[str] | None:
    """Give the values that a schema names, as text; none if it names none."""
    if "const" in schema:
        return {repr(schema["const"])}
    if only := re.fullmatch(r"\^([a-z]+)\$", schema.get("pattern", "")):
        return {repr(only[1])}
    return (
        {repr(value) for value in schema["enum"] if value is not None} if "enum" in schema else None
    )


def _terms(at: str, old: Json, new: Json, side: str) -> Iterator[str]:
    before, now = _allowed(old), _allowed(new)
    if side == "request" and now is not None:
        if before is None:
            yield f"{at}: is an enum"
        elif before - now:
            yield f"{at}: takes no {', '.join(sorted(before - now))} any more"
    if side == "answer" and before is not None:
        if now is None:
            yield f"{at}: is no enum any more"
        elif now - before:
            yield f"{at}: can be {', '.join(sorted(now - before))}"
    # Open terms may come; one that goes breaks whoever waits for it.
    for term in sorted(set(old.get(_OPEN, ())) - set(new.get(_OPEN, ()))):
        yield f"{at}: the term {term} is gone"


def _limits(at: str, old: Json, new: Json, side: str) -> Iterator[str]:
    narrower = side == "request"
    for name in (*_LEAST, *_MOST):
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        least = name in _LEAST
        if now is None:
            tighter = False
        elif before is None:
            tighter = True
        else:
            tighter = now > before if least else now < before
        if tighter == narrower:
            yield f"{at}: {name} is {now}, was {before}"
    for name in _FORMS:
        before, now = old.get(name), new.get(name)
        if before != now and not (now is None if narrower else before is None):
            yield f"{at}: {name} is {now}, was {before}"
    if new.get("uniqueItems") and not old.get("uniqueItems") and narrower:
        yield f"{at}: takes no item twice"
    if new.get("readOnly") and not old.get("readOnly") and narrower:
        yield f"{at}: is read-only"


def _tells_apart(old: Json, new: Json) -> bool:
    """Tell whether an object has become a union, told apart by a property that it had."""
    return not _unions(old) and _tag(new) in old.get("properties", ())


def _closed(schema: Json) -> bool:
    return schema.get("additionalProperties") is False


def _tag(schema: Json) -> str | None:
    name: str | None = schema.get("discriminator", {}).get("propertyName")
    return name


def _unions(schema: Json) -> list[Json]:
    return [member for union in _UNIONS for member in schema.get(union, ())]


def _members(schema: Json) -> dict[str, Json]:
    members = [member for member in _unions(schema) if member != {"type": "null"}]
    return {
        str(member.get("$ref", f"member {place}")).rpartition("/")[2]: member
        for place, member in enumerate(members)
    }
