"""The answers that are problems: what they are called in the document, and examples of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from api.core import errors
from api.core.errors import (
    FAULT_CODES,
    KINDS,
    OF_PARAMETERS,
    Kind,
    Problem,
    invalid_parameter,
    invalid_record,
)
from api.core.request import too_large
from api.document.faces import Components, Json, meanings, open_terms, whole
from api.settings import Settings
from schemas.base import Fault
from schemas.examples import CLAIM_ID, EXAMPLES, HEADERS
from schemas.vocabularies import Link, RecordType

PROBLEM_JSON: Final = "application/problem+json"
ALWAYS_SENT: Final = (
    "X-Request-Id",
    "Cache-Control",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Content-Security-Policy",
    "RateLimit-Policy",
    "RateLimit",
)
WHERE_ORIGINS_ARE_LISTED: Final = ("Access-Control-Allow-Origin",)


class Refusal(NamedTuple):
    """A named answer: the types of problem that share a status where they can occur together."""

    name: str
    kinds: tuple[Kind, ...]
    headers: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()  # where they are not those of the types

    @property
    def shown(self) -> tuple[str, ...]:
        """What its examples are called."""
        return self.examples or tuple(kind.name for kind in self.kinds)

    @property
    def status(self) -> int:
        """The status that the types have in common."""
        return int(self.kinds[0].status)


_QUERY = (
    errors.UNKNOWN_PARAMETER,
    errors.DUPLICATE_PARAMETER,
    errors.INVALID_PARAMETER,
    errors.INVALID_PATH,
    errors.MALFORMED_REQUEST,
    errors.INVALID_HEADER,
)
_BODY = (errors.MALFORMED_JSON,)
_REUSED = errors.IDEMPOTENCY_KEY_REUSED

BAD_QUERY = Refusal("BadQuery", _QUERY)
BAD_PAGE = Refusal("BadPage", (*_QUERY, errors.INVALID_CURSOR, errors.CURSOR_MISMATCH))
BAD_REQUEST = Refusal("BadRequest", _QUERY)
BAD_BODY = Refusal("BadBody", (*_QUERY, *_BODY, errors.TOO_DEEP))
BAD_LINES = Refusal("BadLines", (*_QUERY, *_BODY))
REQUEST_TIMEOUT = Refusal("RequestTimeout", (errors.REQUEST_TIMEOUT,))
UNAUTHORIZED = Refusal("Unauthorized", (errors.UNAUTHORIZED,), ("WWW-Authenticate",))
FORBIDDEN = Refusal("Forbidden", (errors.FORBIDDEN,))
NOT_FOUND = Refusal("NotFound", (errors.NOT_FOUND,))
NOT_UNIQUE = Refusal("NotUnique", (errors.NOT_UNIQUE,))
STILL_REFERENCED = Refusal("StillReferenced", (errors.STILL_REFERENCED,))
NOT_CREATED = Refusal(
    "NotCreated",
    (errors.NOT_UNIQUE, errors.IDEMPOTENCY_IN_PROGRESS),
    ("Retry-After",),
)
NOT_RESTORABLE = Refusal(
    "NotRestorable",
    (errors.NOT_DELETED, errors.NOT_UNIQUE, errors.IDEMPOTENCY_IN_PROGRESS),
    ("Retry-After",),
)
GONE = Refusal("Gone", (errors.GONE,), ("ETag",))
TOO_MANY = Refusal("TooMany", (errors.TOO_MANY,))
IN_PROGRESS = Refusal("InProgress", (errors.IDEMPOTENCY_IN_PROGRESS,), ("Retry-After",))
KEY_REUSED = Refusal("KeyReused", (_REUSED,))
RESYNC_REQUIRED = Refusal("ResyncRequired", (errors.RESYNC_REQUIRED,))
PRECONDITION_FAILED = Refusal("PreconditionFailed", (errors.PRECONDITION_FAILED,), ("ETagIfAny",))
BODY_TOO_LARGE = Refusal("BodyTooLarge", (errors.BODY_TOO_LARGE,))
ARTICLE_TOO_LARGE = Refusal(
    "ArticleTooLarge", (errors.BODY_TOO_LARGE,), examples=("article-too-large",)
)
URI_TOO_LONG = Refusal("UriTooLong", (errors.URI_TOO_LONG,))
NOT_JSON = Refusal("NotJson", (errors.UNSUPPORTED_MEDIA_TYPE,), ("Accept",))
NOT_LINES = Refusal("NotLines", (errors.UNSUPPORTED_MEDIA_TYPE,), ("Accept",))
NOT_A_PATCH = Refusal("NotAPatch", (errors.UNSUPPORTED_MEDIA_TYPE,), ("Accept-Patch",))
INVALID_RECORD = Refusal("InvalidRecord", (errors.INVALID_RECORD, errors.UNKNOWN_REFERENCE))
INVALID_NEW_RECORD = Refusal("InvalidNewRecord", (*INVALID_RECORD.kinds, _REUSED))
INVALID_BODY = Refusal("InvalidBody", (errors.INVALID_RECORD,))
INVALID_NEW_BODY = Refusal("InvalidNewBody", (errors.INVALID_RECORD, _REUSED))
NOT_RESTORED = Refusal("TargetsGone", (errors.UNKNOWN_REFERENCE, _REUSED))
PRECONDITION_REQUIRED = Refusal("PreconditionRequired", (errors.PRECONDITION_REQUIRED,))
HEADERS_TOO_LARGE = Refusal("HeadersTooLarge", (errors.HEADERS_TOO_LARGE,))
INTERNAL = Refusal("InternalError", (errors.INTERNAL,))
UNAVAILABLE = Refusal("Unavailable", (errors.UNAVAILABLE,), ("Retry-After",))
STORAGE_FULL = Refusal("StorageFull", (errors.STORAGE_FULL,))

WRONG_HOST = Refusal("WrongHost", (errors.WRONG_HOST,))
RATE_LIMITED = Refusal("RateLimited", (errors.RATE_LIMITED,), ("Retry-After",))

_READ_JSON: Final = (
    BAD_BODY,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    NOT_JSON,
    UNAVAILABLE,
    STORAGE_FULL,
)
WRITE_JSON: Final = (*_READ_JSON, INVALID_BODY)
"""What any operation that reads a JSON body and writes can be answered with."""
WRITE_JSON_ONCE: Final = (*_READ_JSON, INVALID_NEW_BODY, IN_PROGRESS)
"""The same of one that takes an Idempotency-Key."""
CREATE_JSON_ONCE: Final = (*_READ_JSON, INVALID_NEW_RECORD, NOT_CREATED)
"""The same of one that creates what refers to records, and is there only once."""

ANYWHERE: Final = (
    UNAUTHORIZED,
    URI_TOO_LONG,
    HEADERS_TOO_LARGE,
    INTERNAL,
    WRONG_HOST,
    RATE_LIMITED,
)
"""What any request can be answered with."""


def related(refusal: Refusal) -> Refusal:
    """Add what a record with symmetric relations can be refused for, where one is not unique."""
    if errors.NOT_UNIQUE not in refusal.kinds:
        return refusal
    kinds = (*refusal.kinds, errors.RELATION_EXISTS)
    return refusal._replace(name=f"{refusal.name}OrRelated", kinds=kinds)


def response(refusal: Refusal) -> Json:
    """Describe an answer that is a problem."""
    told = "\n".join(f"- `{kind.name}`: {kind.title} {kind.remedy}" for kind in refusal.kinds)
    return {
        "description": told,
        "headers": headers(*refusal.headers),
        "content": {
            PROBLEM_JSON: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    name: {"$ref": f"#/components/examples/{name}"} for name in refusal.shown
                },
            }
        },
    }


def headers(*names: str) -> Json:
    """Refer to an answer's headers: those named, and those of every answer."""
    return references(*names, *ALWAYS_SENT, *WHERE_ORIGINS_ARE_LISTED)


def references(*names: str) -> Json:
    """Refer to headers; `…IfAny` is the one that comes only where there is something to say."""
    return {name.removesuffix("IfAny"): {"$ref": f"#/components/headers/{name}"} for name in names}


_FAULTS: Final = {**FAULT_CODES, **{kind.name: kind.title for kind in OF_PARAMETERS}}


def add_schemas(components: Components) -> None:
    """Name the one schema of all problems."""
    more = "Here with some types only: "
    components.schemas["Problem"] = {
        "description": "An answer that is not a success (RFC 9457). "
        "`GET /v1/problems` lists the types.",
        "type": "object",
        "properties": {
            "type": _text(200, "What sort of problem; this URI resolves.", format="uri-reference"),
            "title": _text(200, "That, in words; the same for every problem of the type."),
            "status": {"description": "The HTTP status.", **whole(400, 599)},
            "detail": _text(20_000, "What is wrong in this case, and the way out."),
            "instance": _text(8_192, "The path of the request.", format="uri-reference"),
            "request_id": _text(64, "`X-Request-Id`: what to look for in the log."),
            "code": _term("The last part of `type`.", {k.name: k.title for k in KINDS.values()}),
            "errors": {
                "description": "Everything that is wrong with the request, each with its place.",
                "type": "array",
                "items": {"$ref": "#/components/schemas/ProblemError"},
                "maxItems": 100_000,
            },
            "current": {
                "description": f"{more}the record as it stands, to apply one's change to; null if "
                "there is none (`precondition-failed`).",
                "type": ["object", "null"],
                "additionalProperties": True,
            },
            "version": {
                "description": f"{more}the version of the deleted record's tombstone (`gone`, "
                "`precondition-failed`).",
                **whole(1, 2**31 - 1),
            },
            "export": _text(
                200, f"{more}where to start anew (`resync-required`).", format="uri-reference"
            ),
            "referrers": {
                "description": f"{more}who refers to the record (`still-referenced`).",
                "type": "array",
                "items": {"$ref": "#/components/schemas/Referrer"},
                "maxItems": 100,
            },
        },
        "required": [
            "type", "title", "status", "detail", "instance", "request_id", "code", "errors",
        ],
    }  # fmt: skip
    components.schemas["ProblemError"] = {
        "description": "One thing that is wrong: at a `pointer` into the body, or in a query "
        "`parameter`.",
        "type": "object",
        "properties": {
            "pointer": _text(2_000, "Where in the body (RFC 6901).", format="json-pointer"),
            "parameter": _text(8_192, "Which query parameter."),
            "code": _term("What sort of fault; `GET /v1/problems` lists them.", _FAULTS),
            "detail": _text(20_000, "What is wrong, in words."),
        },
        "required": ["code", "detail"],
    }
    components.schemas["Referrer"] = {
        "description": "A record that refers to another one.",
        "type": "object",
        "properties": {
            "type": _term("What sort of record.", meanings(RecordType)),
            "id": _text(36, "Its id.", format="uuid"),
            "link": _term("As what it refers to the other.", meanings(Link)),
        },
        "required": ["type", "id", "link"],
    }


def _term(description: str, terms: Mapping[str, str]) -> Json:
    found = open_terms(terms)
    return found | {"description": f"{description} {found['description']}"}


def _text(most: int, description: str, **more: Any) -> Json:  # noqa: ANN401 - JSON
    return {"description": description, "type": "string", "maxLength": most, **more}


# --- examples --------------------------------------------------------------------------------

_REQUEST_ID = HEADERS["X-Request-Id"]
_MISSING = "01938f7a-4c00-7000-8000-000000000009"
_DEFAULTS = Settings()

_CLAIM = f"/v1/claims/{CLAIM_ID}"
_SOURCE = f"/v1/sources/{EXAMPLES[RecordType.SOURCE].id}"
_INSTANCES = {
    errors.FORBIDDEN: "/v1/keys",
    errors.GONE: _CLAIM,
    errors.IDEMPOTENCY_IN_PROGRESS: "/v1/claims",
    errors.NOT_DELETED: f"{_CLAIM}/restore",
    errors.NOT_FOUND: f"/v1/claims/{_MISSING}",
    errors.NOT_UNIQUE: "/v1/sources",
    errors.PRECONDITION_FAILED: _CLAIM,
    errors.PRECONDITION_REQUIRED: _CLAIM,
    errors.RESYNC_REQUIRED: "/v1/changes",
    errors.STILL_REFERENCED: _SOURCE,
    errors.TOO_MANY: "/v1/webhooks",
}
"""What was asked for where a problem is shown; elsewhere it is the list of claims."""

_OF_PARAMETERS = (
    invalid_parameter("colour", "This operation does not have it.", errors.UNKNOWN_PARAMETER),
    invalid_parameter("limit", "It was sent twice; send it once.", errors.DUPLICATE_PARAMETER),
    invalid_parameter("limit", "At most 200."),
    invalid_parameter("cursor", "It was not made by this service.", errors.INVALID_CURSOR),
    invalid_parameter("cursor", "It belongs to another list.", errors.CURSOR_MISMATCH),
)
_OF_RECORDS = (
    invalid_record(
        [
            Fault(("text",), "required", "`text` is needed."),
            Fault(("quantities", 0, "value"), "required", "`exact` needs `value`."),
        ]
    ),
    invalid_record(
        [
            Fault(
                ("attributions", 0, "source_id"),
                "unknown-reference",
                f"There is no source {_MISSING}.",
            )
        ]
    ),
    Problem(
        errors.NOT_UNIQUE,
        "Another record of this type has this external id: example, nis.",
        errors=[
            {
                "pointer": "/external_ids",
                "code": "not-unique",
                "detail": "Another record of this type has this external id: example, nis.",
            }
        ],
    ),
    Problem(
        errors.STILL_REFERENCED,
        f"Still referred to by claim {CLAIM_ID} (attribution).",
        referrers=[{"type": "claim", "id": CLAIM_ID, "link": "attribution"}],
    ),
    Problem(errors.GONE, version=2),
    Problem(errors.RESYNC_REQUIRED, export="/v1/export"),
)
_OTHERS = (
    Problem(errors.MALFORMED_JSON, "Line 1, column 10: Expecting value."),
    Problem(errors.INVALID_HEADER, "`If-Match` takes `*` or a list of quoted ETags."),
    Problem(errors.UNAUTHORIZED, "The key is not valid."),
    Problem(errors.FORBIDDEN, "This takes a key with the scope `keys`."),
    Problem(errors.NOT_FOUND, "No record has this id."),
    Problem(errors.REQUEST_TIMEOUT, "No byte of the body came for 10 s."),
    too_large(_DEFAULTS.body_bytes),
    Problem(errors.UNSUPPORTED_MEDIA_TYPE, "Send `Content-Type: application/json`."),
    Problem(errors.UNAVAILABLE, "The database is away or busy."),
)


def examples(current: Json) -> dict[str, Json]:
    """Give an example of each type of problem; `current` is a record as it stands."""
    failed = Problem(
        errors.PRECONDITION_FAILED,
        f"The record is at version {current['version']}.",
        current=current,
    )
    told = {p.kind.name: p for p in (*_OF_PARAMETERS, *_OF_RECORDS, *_OTHERS, failed)}
    found = {name: told.get(name, Problem(kind)) for name, kind in KINDS.items()}
    shown = {
        name: _shown(problem, _INSTANCES.get(problem.kind, "/v1/claims"))
        for name, problem in found.items()
    }
    article = _shown(too_large(_DEFAULTS.article_body_bytes), "/v1/articles")
    return shown | dict.fromkeys(ARTICLE_TOO_LARGE.shown, article)


def _shown(problem: Problem, instance: str) -> Json:
    return {
        "summary": problem.kind.title,
        "value": problem.document(instance, _REQUEST_ID),
    }
