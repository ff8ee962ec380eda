"""The OpenAPI document, put together from the routes that the service answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any, Final, NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.core.caller import KEYLESS, WRITE, Need, needed
from api.core.deprecation import Deprecated
from api.core.resource import Resource
from api.document import nouns as of_nouns
from api.document import operations, parameters, refusals, webhooks
from api.document.examples import story
from api.document.faces import Components, Json
from api.document.nouns import Noun
from api.document.operations import OF_NOUNS
from api.document.refusals import Refusal
from schemas.examples import HEADERS
from schemas.vocabularies import RecordType, Scope

VERSION: Final = "0.2.0"

_GUIDES: Final = resources.files("openapi") / "guides"
_INTRODUCTION: Final = "introduction"
_TAGS: Final = (
    "changes",
    "export",
    "import",
    "webhooks",
    "keys",
    "identities",
    "audit",
    "vocabularies",
    "problems",
    "service",
)
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
    of_nouns.add_unions(nouns.values(), components)
    refusals.add_schemas(components)
    used: dict[str, Refusal] = {}
    receivers = webhooks.described(components)
    paths: dict[str, Json] = {}
    for route in found:
        paths.setdefault(route.path, {})[route.method] = _operation(route, nouns, components, used)
    return {
        "openapi": "3.1.0",
        "info": _info(),
        "servers": [_SERVER],
        "tags": list(_tags(nouns.values())),
        "paths": paths,
        "webhooks": receivers,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": {name: refusals.response(each) for name, each in sorted(used.items())},
            "parameters": parameters.of_headers(),
            "examples": examples | _examples_of_problems(nouns.values(), used.values()),
            "headers": {
                name: header
                for name, header in _headers().items()
                if name not in _OF_DEPRECATED or any("deprecated" in r.handler.opt for r in found)
            },
            "securitySchemes": {"key": _KEY},
            "links": {k: v for noun in nouns.values() for k, v in of_nouns.links(noun).items()},
        },
    }


def _examples_of_problems(nouns: Iterable[Noun], used: Iterable[Refusal]) -> dict[str, Json]:
    """Give an example of each type of problem that some operation can answer."""
    names = {name for refusal in used for name in refusal.shown}
    claims = (story(noun.of).updated for noun in nouns if noun.of.type == RecordType.CLAIM)
    told = refusals.examples(next(claims, {"version": 1}))
    return {name: each for name, each in told.items() if name in names}


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


_METHODS: Final = ("get", "post", "put", "patch", "delete")
_PLACES: Final = {place: position for position, place in enumerate(OF_NOUNS)}


def _in_reading_order(found: Iterable[Route]) -> list[Route]:
    """Sort operations: nouns as they were declared, then the rest, each in its usual order."""
    of_nouns = [route for route in found if _is_noun(route)]
    paths = list(dict.fromkeys(route.handler.opt["resource"].path for route in of_nouns))

    def place(route: Route) -> tuple[Any, ...]:
        if not _is_noun(route):
            tag = _TAGS.index(_tag(route))
            return len(paths), tag, route.path, _METHODS.index(route.method)
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
        if nouns[of.path].symmetric:
            refused = tuple(map(refusals.related, refused))
    else:
        operation, refused = operations.written(handler.opt["operation"], components)
    summary, _, _ = inspect.cleandoc(handler.fn.__doc__ or "").partition("\n")
    need = needed(handler.opt, route.method.upper())
    if need is None or need.scopes or need.reads:
        refused = (*refused, refusals.FORBIDDEN)
    if route.path.startswith(KEYLESS):
        refused = tuple(_of_keyless(refused))
    operation["description"] += _takes(need)
    deprecated: Deprecated | None = handler.opt.get("deprecated")
    if deprecated is not None:
        _deprecate(operation, deprecated)
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
        "security": [] if route.path.startswith(KEYLESS) else _security(need),
    }


def _of_keyless(refused: Iterable[Refusal]) -> Iterator[Refusal]:
    """Leave out what nobody is refused where no key is read and nothing is counted."""
    kinds = tuple(refused)
    for refusal in kinds:
        # What asks nothing of the database has nothing that could fail.
        never = refusal is refusals.INTERNAL and refusals.UNAVAILABLE not in kinds
        if refusal not in (refusals.UNAUTHORIZED, refusals.RATE_LIMITED) and not never:
            yield refusal


def _deprecate(operation: Json, deprecated: Deprecated) -> None:
    operation["description"] = f"{deprecated.told}\n\n{operation['description']}"
    operation["deprecated"] = True
    for answer in operation["responses"].values():
        if "$ref" not in answer:
            answer["headers"] |= refusals.references(*_OF_DEPRECATED)


_OF_DEPRECATED: Final = ("Deprecation", "Sunset")


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
    if not need.reads:
        return [{}, {"key": []}]
    scopes = (Scope.READ, Scope.DRAFTS_READ, *(WRITE[of] for of in need.reads))
    also = (Scope.CONFIDENTIAL_READ,) if RecordType.SOURCE in need.reads else ()
    return [{}, *({"key": [scope.value]} for scope in (*scopes, *also))]


def _takes(need: Need | None) -> str:
    """Say in words what an operation takes."""
    if need is None or not need.scopes:
        return ""
    scopes = " and ".join(f"`{scope}`" for scope in need.scopes)
    return f" Takes a key with {scopes}."


_SERVER: Final = {
    "url": "/",
    "description": "The service that gave this document, be it in production or a local one.",
}


def _info() -> Json:
    return {
        "title": "claim-records",
        "version": VERSION,
        "summary": "Who claimed what, via whom, in which article, and who denied it.",
        "description": _guide(_INTRODUCTION),
        "contact": {"name": "The maintainers of claim-records"},
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _tags(nouns: Iterable[Noun]) -> Iterator[Json]:
    for name in (*(noun.of.plural for noun in nouns), *_TAGS):
        yield {"name": name, "description": _guide(name)}


def _guide(name: str) -> str:
    """Read what is said of a tag, in Markdown."""
    return (_GUIDES / f"{name}.md").read_text(encoding="utf-8").strip()


_OWN_ID: Final = (
    "its own `X-Request-Id`, where that is 8 to 64 letters, digits, dots, underscores and hyphens; "
    "else a new one."
)


_SOMETIMES: Final = {
    *("Access-Control-Allow-Origin", "Content-Encoding", "Idempotency-Replayed", "Link"),
    *("RateLimit", "RateLimit-Policy", "Retry-After", "ETagIfAny"),
}
"""Headers that come only where there is something to say; the others always."""


def _headers() -> Json:
    told = {
        "ETag": ("The record's version, for `If-Match` and `If-None-Match`.", 100),
        "ETagIfAny": ("The version that the record is at; absent where there is none.", 100),
        "Location": ("Where the created record is.", 2_000),
        "Content-Location": ("Where the record itself is.", 2_000),
        "Content-Encoding": ("How the answer is compressed, if it is: `zstd` or `gzip`.", 20),
        "Vary": ("By which headers of the request the answer goes: `Accept-Encoding`.", 100),
        "Link": ('The next page, with `rel="next"` (RFC 8288); absent on the last one.', 16_384),
        "X-Accel-Buffering": ("`no`: a server in between is to hand on each event at once.", 10),
        "Retry-After": ("In how many seconds to try again.", 10),
        "Deprecation": ("Since when the operation should not be used any more (RFC 9745).", 30),
        "Sunset": ("From when on the operation is gone (RFC 8594).", 40),
        "Idempotency-Replayed": (
            "`true`: the request was not done again, this is the first answer to it.",
            10,
        ),
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
        "X-Request-Id": (f"The id under which the log has this request: {_OWN_ID}", 64),
        "Cache-Control": ("Whether the answer may be kept: not without asking.", 100),
        "X-Content-Type-Options": ("`nosniff`.", 20),
        "Referrer-Policy": ("`no-referrer`.", 50),
        "Content-Security-Policy": ("An answer is not a page: it may load nothing.", 500),
        "Access-Control-Allow-Origin": (
            "The page's origin, where the service lists it as one that may ask; else absent.",
            2_000,
        ),
    }
    return {
        name: {
            "description": description,
            "required": name not in _SOMETIMES,
            "schema": {"type": "string", "maxLength": most},
            "example": HEADERS[name.removesuffix("IfAny")],
        }
        for name, (description, most) in told.items()
    }
