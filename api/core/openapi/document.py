"""The OpenAPI document, put together from the routes that the service answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.access.callers import WRITE, Need, needed
from api.core.openapi import nouns as of_nouns
from api.core.openapi import operations, parameters, refusals
from api.core.openapi.examples import story
from api.core.openapi.faces import Components, Json
from api.core.openapi.nouns import Noun
from api.core.openapi.operations import OF_NOUNS
from api.core.openapi.refusals import Refusal
from api.core.resource import Resource
from schemas.vocabularies import RecordType, Scope

VERSION: Final = "0.1.0"

_INTRODUCTION: Final = """\
The open system of record for who claimed what, via whom, in which article, and who denied it.

A **source** is whoever or whatever is credited: a person, a ministry, “a US official”. An \
**article** is a text in which it is printed. A **claim** is an attributed assertion: its \
attributions lead from the reader (position 0) to the origin (the highest position), its \
appearances say where it is printed, word by word. A **denial** is any response to claims: a full \
denial, a dodge, silence, an admission; its `family` is the safe answer to “did they deny it?”.

Start with `POST /v1/claims` and `{"text": "…"}`: everything else is optional, because in \
journalism *unknown* is legal. Then `GET /v1/claims?expand=sources,articles,denials`.

What holds everywhere:

- JSON in UTF-8, names in snake_case, instants in UTC (RFC 3339). An answer always has all \
properties: unknown is `null`, none is `[]`. A request with an unknown property is refused.
- An answer gets new properties and new terms without notice; whatever is an `x-extensible-enum` \
can be a term that is not listed.
- What is published can be read without a key where the service listens on its own machine only; \
writing, and reading anything else, takes `Authorization: Bearer …` with a key that has the scope. \
A key that is not valid is refused everywhere. What a key may not see does not exist for it.
- Every record has a `version`, and its `ETag` changes with it. Writing one needs `If-Match`, so \
that nobody overwrites what they have not seen.
- Lists are read by cursor. A parameter that is not known is refused, not ignored.
- Every failure is a problem (RFC 9457), and names everything that is wrong at once.
- `HEAD` works wherever `GET` does; `OPTIONS`, and 405 for a method that a path does not take, \
carry `Allow`. A request may bring its own `X-Request-Id`.
- `/v1` changes only by addition.
"""

_TAGS: Final = {
    "identities": "Who anonymous sources turned out to be, kept apart from them.",
    "import": "Many records in one request, a line each.",
    "keys": "Who may do what.",
    "audit": "Who did what.",
    "vocabularies": "The terms that records use, each with its meaning.",
    "problems": "What can go wrong, and the way out.",
    "service": "The service itself: is it well, and what does it offer?",
}
"""What comes behind the nouns, in reading order."""


class Route(NamedTuple):
    """An operation of the service."""

    path: str
    method: str
    handler: HTTPRouteHandler


def build(router: Litestar) -> bytes:
    """Write the OpenAPI document of a router's operations, the same bytes for the same code."""
    document = describe(router)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def describe(router: Litestar) -> Json:
    """Put the document together."""
    found = _in_reading_order(list(routes(router)))
    components = Components()
    examples: dict[str, Json] = {}
    nouns = {
        of.path: Noun(of, components, examples)
        for of in dict.fromkeys(r.handler.opt["resource"] for r in found if _is_noun(r))
    }
    for noun in nouns.values():
        of_nouns.add(noun)
    refusals.add_schemas(components)
    used: dict[str, Refusal] = {}
    paths: dict[str, Json] = {}
    for route in found:
        paths.setdefault(route.path, {})[route.method] = _operation(route, nouns, components, used)
    return {
        "openapi": "3.1.0",
        "info": _info(),
        "servers": [{"url": "/", "description": "The service that gave this document."}],
        "tags": list(_tags(nouns.values())),
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": {name: refusals.response(each) for name, each in sorted(used.items())},
            "parameters": parameters.of_headers(),
            "examples": examples | _examples_of_problems(nouns.values(), used.values()),
            "headers": _headers(),
            "securitySchemes": {"key": _KEY},
            "links": {k: v for noun in nouns.values() for k, v in of_nouns.links(noun).items()},
        },
    }


def _examples_of_problems(nouns: Iterable[Noun], used: Iterable[Refusal]) -> dict[str, Json]:
    """Give an example of each type of problem that some operation can answer."""
    kinds = {kind.name for refusal in used for kind in refusal.kinds}
    current = next((story(noun.of).updated for noun in nouns), {"version": 1})
    told = refusals.examples(current)
    return {name: each for name, each in told.items() if name in kinds}


def routes(router: Litestar) -> Iterator[Route]:
    """Give the operations that are to be documented: all but the pages for people."""
    for route in router.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if handler.include_in_schema is False:
                continue
            path = route.path.replace(":str}", "}")
            yield from (Route(path, method.lower(), handler) for method in handler.http_methods)


_PLACES: Final = {place: position for position, place in enumerate(OF_NOUNS)}


def _in_reading_order(found: Iterable[Route]) -> list[Route]:
    """Sort operations: nouns as they were declared, then the rest, each in its usual order."""
    of_nouns = [route for route in found if _is_noun(route)]
    paths = list(dict.fromkeys(route.handler.opt["resource"].path for route in of_nouns))

    def place(route: Route) -> tuple[Any, ...]:
        if not _is_noun(route):
            return len(paths), list(_TAGS).index(_tag(route)), route.path
        path = route.handler.opt["resource"].path
        return paths.index(path), _PLACES[route.method, route.path.removeprefix(path)]

    return sorted(found, key=place)


def _is_noun(route: Route) -> bool:
    return "resource" in route.handler.opt


def _tag(route: Route) -> str:
    of: Resource | None = route.handler.opt.get("resource")
    tag: str = of.plural if of is not None else route.handler.opt["operation"].tag
    return tag


def _operation(
    route: Route, nouns: Mapping[str, Noun], components: Components, used: dict[str, Refusal]
) -> Json:
    """Write down one operation; one that nothing is known of is an error."""
    handler = route.handler
    if _is_noun(route):
        of: Resource = handler.opt["resource"]
        suffix = route.path.removeprefix(of.path)
        operation, refused = OF_NOUNS[route.method, suffix](nouns[of.path])
    else:
        operation, refused = operations.written(handler.opt["operation"], components)
    summary, _, _ = inspect.cleandoc(handler.fn.__doc__ or "").partition("\n")
    need = needed(handler.opt, route.method.upper())
    if need is None or need.scopes:
        refused = (*refused, refusals.FORBIDDEN)
    operation["description"] += _takes(need)
    used |= {refusal.name: refusal for refusal in refused}
    operation["responses"] |= {
        str(refusal.status): {"$ref": f"#/components/responses/{refusal.name}"}
        for refusal in sorted(refused, key=lambda refusal: refusal.status)
    }
    return {
        "operationId": handler.operation_id,
        "summary": summary.rstrip("."),
        "tags": [_tag(route)],
        **operation,
        "security": _security(need),
    }


_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "clk_",
    "description": "A key: `clk_`, its id, `_`, its secret. The first start of the service prints "
    "one; `claim-records keys create` and `createKey` make others. What a key may do are its "
    "scopes:\n\n" + "\n".join(f"- `{scope}`: {scope.meaning}" for scope in Scope),
}


def _security(need: Need | None) -> list[Json]:
    """Write the keys that do for an operation, any one of them; `{}` is none."""
    if need is None or need.scopes:
        return [{"key": [scope.value for scope in need.scopes] if need else []}]
    if need.reads is None:
        return []
    scopes = (Scope.READ, Scope.DRAFTS_READ, WRITE[need.reads])
    also = (Scope.CONFIDENTIAL_READ,) if need.reads is RecordType.SOURCE else ()
    return [{}, *({"key": [scope.value]} for scope in (*scopes, *also))]


def _takes(need: Need | None) -> str:
    """Say in words what an operation takes."""
    if need is None or not need.scopes:
        return ""
    scopes = " and ".join(f"`{scope}`" for scope in need.scopes)
    return f" Takes a key with {scopes}."


def _info() -> Json:
    return {
        "title": "claim-records",
        "version": VERSION,
        "summary": "Who claimed what, via whom, in which article, and who denied it.",
        "description": _INTRODUCTION,
        "contact": {"name": "The maintainers of claim-records"},
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _tags(nouns: Iterable[Noun]) -> Iterator[Json]:
    for noun in nouns:
        description = inspect.cleandoc(noun.of.create.__doc__ or "")
        yield {"name": noun.of.plural, "description": f"{description} {noun.of.type.meaning}"}
    for name, description in _TAGS.items():
        yield {"name": name, "description": description}


def _headers() -> Json:
    told = {
        "ETag": ("The record's version, for `If-Match` and `If-None-Match`.", 100),
        "Location": ("Where the created record is.", 2_000),
        "Content-Location": ("Where the record itself is.", 2_000),
        "Link": ('The next page, with `rel="next"` (RFC 8288); absent on the last one.', 16_384),
        "Retry-After": ("In how many seconds to try again.", 10),
        "RateLimit-Policy": (
            "How many requests (`q`) are answered in how many seconds (`w`).",
            200,
        ),
        "RateLimit": (
            "How many requests are left (`r`), and in how many seconds (`t`) all are.",
            200,
        ),
        "WWW-Authenticate": ("`Bearer`: send a key in `Authorization`.", 100),
        "Accept": ("The media types that the operation reads.", 200),
        "Accept-Patch": ("The media types of patches that the operation reads.", 200),
        "X-Request-Id": ("The id under which the log has this request.", 64),
        "Cache-Control": ("Whether the answer may be kept: not without asking.", 100),
        "X-Content-Type-Options": ("`nosniff`.", 20),
        "Referrer-Policy": ("`no-referrer`.", 50),
        "Content-Security-Policy": ("An answer is not a page: it may load nothing.", 500),
    }
    return {
        name: {"description": description, "schema": {"type": "string", "maxLength": most}}
        for name, (description, most) in told.items()
    }
