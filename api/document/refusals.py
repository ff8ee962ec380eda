"""Refusals: the problems with which an operation can answer, and examples of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from api.core import errors
from api.core.caller import KEYLESS
from api.core.errors import KINDS, PRECONDITION_FAILED, Kind, Problem
from api.core.request import too_large
from api.core.resource import Resource
from api.document.examples import story
from api.document.route import Route
from api.document.templates import Json, fill, read
from api.settings import Settings
from schemas.examples import CLAIM_ID, EXAMPLES, HEADERS
from schemas.vocabularies import RecordType

PROBLEM_JSON: Final = "application/problem+json"
_ALWAYS_SENT: Final = (
    "X-Request-Id",
    "Cache-Control",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Content-Security-Policy",
    "RateLimit-Policy",
    "RateLimit",
    "Access-Control-Allow-Origin",
)
_DEFAULTS: Final = Settings()


class Refusal(NamedTuple):
    """A named answer with the types of problem that can occur together under one status."""

    name: str
    kinds: tuple[Kind, ...]
    headers: tuple[str, ...]
    examples: tuple[str, ...]
    schema: str = "Problem"

    @property
    def status(self) -> int:
        """The status of all its types."""
        return int(self.kinds[0].status)


@cache
def _named() -> dict[str, Refusal]:
    """Read all refusals from the template."""
    return {
        name: Refusal(
            name,
            tuple(KINDS[kind] for kind in answer["kinds"]),
            tuple(answer.get("headers", ())),
            tuple(answer.get("examples", answer["kinds"])),
        )
        for name, answer in read("problems")["responses"].items()
    }


def headers(names: Iterable[str]) -> Json:
    """Refer to the headers of an answer: the named ones, and those of every answer."""
    return references((*names, *_ALWAYS_SENT))


def references(names: Iterable[str]) -> Json:
    """Refer to headers; `ETagIfAny` is an `ETag` that can be absent."""
    return {name.removesuffix("IfAny"): {"$ref": f"#/components/headers/{name}"} for name in names}


def response(refusal: Refusal) -> Json:
    """Describe a refusal as an answer."""
    lines = [f"- `{kind.name}`: {kind.title} {kind.remedy}" for kind in refusal.kinds]
    shown = {name: {"$ref": f"#/components/examples/{name}"} for name in refusal.examples}
    schema = {"$ref": f"#/components/schemas/{refusal.schema}"}
    return {
        "description": "\n".join(lines),
        "headers": headers(refusal.headers),
        "content": {PROBLEM_JSON: {"schema": schema, "examples": shown}},
    }


# --- the refusals of an operation ------------------------------------------------------------


def of_operation(
    operation: Json, route: Route, declared: Collection[Kind], written: Resource | None = None
) -> list[Refusal]:
    """List the refusals of an operation by status: those declared, and those that follow.

    `written` is the resource whose record a failed precondition shows.
    """
    rules = read("problems")["rules"]
    names = {name for rule in _rules(operation, route) for name in rules.get(rule, ())}
    if route.path.startswith(KEYLESS):
        # No key is read there, no request is counted, and without the database nothing can fail.
        names -= {errors.UNAUTHORIZED.name, errors.RATE_LIMITED.name}
        if errors.UNAVAILABLE not in declared:
            names.remove(errors.INTERNAL.name)
    is_record = "BodyTooLarge" in names and "BadQueryBody" not in names
    if is_record and route.resource and route.resource.large:
        names ^= {"BodyTooLarge", "ArticleTooLarge"}
    refused = [_named()[name] for name in names if name in _named()]
    by_status = defaultdict[int, set[Kind]](set)
    for kind in (*declared, *(KINDS[name] for name in names if name in KINDS)):
        by_status[int(kind.status)].add(kind)
    refused += [_of(written, _holding(kinds)) for kinds in by_status.values()]
    if len({refusal.status for refusal in refused}) < len(refused):
        raise LookupError(f"{route.path} has two answers of one status: {refused}")
    return sorted(refused, key=lambda refusal: refusal.status)


def _holding(kinds: set[Kind]) -> Refusal:
    """Find the refusal that has exactly these types of problem."""
    for refusal in _named().values():
        if set(refusal.kinds) == kinds:
            return refusal
    names = ", ".join(sorted(kind.name for kind in kinds))
    raise LookupError(
        f"openapi/templates/problems.yaml has no answer with exactly these kinds: {names}"
    )


def _of(resource: Resource | None, refusal: Refusal) -> Refusal:
    """Make a failed precondition the one of a noun, which shows a record of this noun."""
    if resource is None or refusal.kinds != (PRECONDITION_FAILED,):
        return refusal
    name = f"{resource.record.__name__}PreconditionFailed"
    return refusal._replace(name=name, schema=name, examples=(name,))


def _rules(operation: Json, route: Route) -> Iterator[str]:
    """Name the rules that apply to an operation; some names have no rule."""
    parameters = operation.get("parameters", ())
    headers = [each["$ref"].rpartition("/")[2] for each in parameters if "$ref" in each]
    yield "any"
    yield from headers
    reads = route.need is not None and bool(route.need.reads)
    if route.need is None or route.need.scopes:
        yield "key"
    elif reads:
        yield "reads"
    if route.method != "get" and not reads:
        yield "write"
    if "{" in route.path:
        yield "path"
    if "requestBody" in operation and reads:
        yield "query-body"
    elif "requestBody" in operation:
        yield from operation["requestBody"]["content"]
    elif any(each.get("name") in ("cursor", "since") for each in parameters):
        yield "page"
    elif headers or route.method != "get":
        yield "request"
    else:
        yield "query"


# --- examples --------------------------------------------------------------------------------


def precondition_failed(resource: Resource) -> Json:
    """Give the example of a failed precondition of a noun."""
    record = story(resource).updated
    case = {
        "instance": f"{resource.path}/{record['id']}",
        "detail": f"The record is at version {record['version']}.",
        "current": record,
    }
    return _example(PRECONDITION_FAILED.name, case)


def examples(names: Collection[str]) -> dict[str, Json]:
    """Give examples of problems by name, in the order of their types."""
    values = {
        "claim": CLAIM_ID,
        "source": EXAMPLES[RecordType.SOURCE].id,
        "missing": "01938f7a-4c00-7000-8000-000000000009",
        "body_too_large": too_large(_DEFAULTS.body_bytes).detail,
        "article_too_large": too_large(_DEFAULTS.article_body_bytes).detail,
    }
    cases: dict[str, Any] = fill(read("problems")["examples"], values)
    return {
        name: _example(name, cases.get(name, {}))
        for name in dict.fromkeys((*KINDS, *cases))
        if name in names
    }


def _example(name: str, case: Json) -> Json:
    """Write a problem as the service answers it."""
    more = {"kind": name, "instance": "/v1/claims", **case}
    kind, instance = KINDS[more.pop("kind")], more.pop("instance")
    problem = Problem(kind, **more)
    return {"summary": kind.title, "value": problem.document(instance, HEADERS["X-Request-Id"])}
