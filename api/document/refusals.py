"""The answers that are problems: which ones an operation can give, and examples of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, Final, NamedTuple

from api.core import errors
from api.core.caller import KEYLESS, Need
from api.core.errors import KINDS, Kind, Problem
from api.core.request import JSON, MERGE_PATCH, NDJSON, too_large
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
    """A named answer: the types of problem that share a status where they can occur together."""

    name: str
    kinds: tuple[Kind, ...]
    headers: tuple[str, ...]
    examples: tuple[str, ...]

    @property
    def status(self) -> int:
        """The status that the types have in common."""
        return int(self.kinds[0].status)


@cache
def _named() -> dict[str, Refusal]:
    """Give every answer that has a name."""
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
    """Refer to an answer's headers: those named, and those of every answer."""
    return references((*names, *_ALWAYS_SENT))


def references(names: Iterable[str]) -> Json:
    """Refer to headers; `…IfAny` is the one that comes only where there is something to say."""
    return {name.removesuffix("IfAny"): {"$ref": f"#/components/headers/{name}"} for name in names}


def response(refusal: Refusal) -> Json:
    """Describe an answer that is a problem."""
    lines = [f"- `{kind.name}`: {kind.title} {kind.remedy}" for kind in refusal.kinds]
    shown = {name: {"$ref": f"#/components/examples/{name}"} for name in refusal.examples}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": "\n".join(lines),
        "headers": headers(refusal.headers),
        "content": {PROBLEM_JSON: {"schema": schema, "examples": shown}},
    }


# --- which ones an operation can give --------------------------------------------------------


class Taken(NamedTuple):
    """What an operation takes, as far as refusals follow from it."""

    path: str
    method: str
    need: Need | None  # null: more than any key has
    parameters: Collection[str]  # by name; headers as the document's components are called
    media_type: str | None  # of the body
    large: bool = False  # whether the body may be as large as an article


def taken(operation: Json, route: Route) -> Taken:
    """Read off an operation what it takes."""
    given = operation.get("parameters", ())
    names = [p["name"] if "name" in p else p["$ref"].rpartition("/")[2] for p in given]
    content = operation.get("requestBody", {"content": ()})["content"]
    return Taken(
        route.path,
        route.method,
        route.need,
        names,
        media_type=next(iter(content), None),
        large=route.resource is not None and route.resource.large,
    )


def of_operation(taken: Taken, declared: Iterable[Kind]) -> list[Refusal]:
    """Name the answers that are problems, by status: those declared, and those that follow."""
    kinds = {*declared, *_anywhere(taken), *_of_body(taken), *_of_headers(taken)}
    if "{" in taken.path:
        kinds.add(errors.NOT_FOUND)
    if taken.path.startswith(KEYLESS):
        # No key is read there and nothing is counted; without the database nothing could fail.
        kinds -= {errors.UNAUTHORIZED, errors.RATE_LIMITED}
        if errors.UNAVAILABLE not in kinds:
            kinds.remove(errors.INTERNAL)
    by_status = defaultdict[int, set[Kind]](set)
    for kind in kinds:
        by_status[int(kind.status)].add(kind)
    found = [_named()[name] for name in _of_shape(taken)]
    named = {refusal.status for refusal in found}
    found += [_holding(kinds) for status, kinds in by_status.items() if status not in named]
    return sorted(found, key=lambda refusal: refusal.status)


def _holding(kinds: set[Kind]) -> Refusal:
    """Find the answer of just these types."""
    for refusal in _named().values():
        if set(refusal.kinds) == kinds:
            return refusal
    names = ", ".join(sorted(kind.name for kind in kinds))
    raise LookupError(f"openapi/templates/problems.yaml names no answer of just: {names}")


def _anywhere(taken: Taken) -> set[Kind]:
    """Give what does not go by the body and the headers."""
    kinds = {
        errors.UNAUTHORIZED,
        errors.URI_TOO_LONG,
        errors.HEADERS_TOO_LARGE,
        errors.INTERNAL,
        errors.WRONG_HOST,
        errors.RATE_LIMITED,
    }
    if taken.need is None or taken.need.scopes or taken.need.reads:
        kinds |= {errors.FORBIDDEN, errors.UNAVAILABLE}
    if taken.method != "get":
        kinds |= {errors.UNAVAILABLE, errors.STORAGE_FULL}
    return kinds


def _of_body(taken: Taken) -> set[Kind]:
    if taken.media_type is None:
        return set()
    if taken.media_type == NDJSON:  # each line has its own result
        return {errors.REQUEST_TIMEOUT}
    return {errors.REQUEST_TIMEOUT, errors.INVALID_RECORD}


def _of_headers(taken: Taken) -> set[Kind]:
    kinds: set[Kind] = set()
    if "IdempotencyKey" in taken.parameters:
        kinds |= {errors.IDEMPOTENCY_IN_PROGRESS, errors.IDEMPOTENCY_KEY_REUSED}
    if {"IfMatch", "IfMatchOptional"} & set(taken.parameters):
        kinds.add(errors.PRECONDITION_FAILED)
    if "IfMatch" in taken.parameters:
        kinds.add(errors.PRECONDITION_REQUIRED)
    return kinds


_OF_BODIES: Final = {
    JSON: ("BadBody", "BodyTooLarge", "NotJson"),
    MERGE_PATCH: ("BadBody", "BodyTooLarge", "NotAPatch"),
    NDJSON: ("BadLines", "NotLines"),
}


def _of_shape(taken: Taken) -> Iterable[str]:
    """Name the answers whose types alone don't tell them apart."""
    if taken.media_type is not None:
        for name in _OF_BODIES[taken.media_type]:
            yield "ArticleTooLarge" if taken.large and name == "BodyTooLarge" else name
    elif {"cursor", "since"} & set(taken.parameters):
        yield "BadPage"
    elif taken.method != "get" or any(name[0].isupper() for name in taken.parameters):
        yield "BadRequest"
    else:
        yield "BadQuery"


# --- examples --------------------------------------------------------------------------------


def examples(names: Collection[str], current: Json) -> dict[str, Json]:
    """Give examples of problems by name, in the order of their types.

    `current` is a claim as it stands.
    """
    values = {
        "claim": CLAIM_ID,
        "source": EXAMPLES[RecordType.SOURCE].id,
        "missing": "01938f7a-4c00-7000-8000-000000000009",
        "current": current,
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
    """Give a problem as the service answers it."""
    more = {"kind": name, "instance": "/v1/claims", **case}
    kind, instance = KINDS[more.pop("kind")], more.pop("instance")
    problem = Problem(kind, **more)
    return {"summary": kind.title, "value": problem.document(instance, HEADERS["X-Request-Id"])}
