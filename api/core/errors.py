"""Problems (RFC 9457): all answers that are not a success, with each type declared once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, NamedTuple

from api.core.masking import masked
from schemas.base import Fault, Path


class Kind(NamedTuple):
    """A type of problem: its name is the last part of its URI."""

    name: str
    status: HTTPStatus
    title: str
    remedy: str


MALFORMED_JSON = Kind(
    "malformed-json",
    HTTPStatus.BAD_REQUEST,
    "The body is not JSON.",
    "Send one JSON text in UTF-8 (RFC 8259), without NaN, trailing commas, duplicate keys or lone "
    "surrogates.",
)
MALFORMED_TABLE = Kind(
    "malformed-table",
    HTTPStatus.BAD_REQUEST,
    "The body is not a table.",
    "Send CSV (RFC 4180) in UTF-8, whose first row names the columns. The `detail` says which "
    "row can't be read.",
)
TOO_DEEP = Kind(
    "too-deep",
    HTTPStatus.BAD_REQUEST,
    "The body is nested too deeply.",
    "Send at most 32 levels. No record has more than 8.",
)
UNKNOWN_PARAMETER = Kind(
    "unknown-parameter",
    HTTPStatus.BAD_REQUEST,
    "This operation does not have this query parameter.",
    "The OpenAPI document lists the parameters of each operation.",
)
DUPLICATE_PARAMETER = Kind(
    "duplicate-parameter",
    HTTPStatus.BAD_REQUEST,
    "A query parameter was sent twice.",
    "Send it once. Only parameters that end in `__in` or `__nin` can be repeated.",
)
INVALID_PARAMETER = Kind(
    "invalid-parameter",
    HTTPStatus.BAD_REQUEST,
    "The value of a query parameter is not valid.",
    "The `errors` name the parameter and the values that it accepts.",
)
INVALID_HEADER = Kind(
    "invalid-header",
    HTTPStatus.BAD_REQUEST,
    "The value of a request header is not valid.",
    "The `detail` names the header and the values that it accepts.",
)
INVALID_CURSOR = Kind(
    "invalid-cursor",
    HTTPStatus.BAD_REQUEST,
    "The cursor did not come from this service.",
    "Send `next_cursor` exactly as you got it, or leave the cursor out to start from the "
    "beginning.",
)
CURSOR_MISMATCH = Kind(
    "cursor-mismatch",
    HTTPStatus.BAD_REQUEST,
    "The cursor belongs to another list.",
    "Send the same filters and the same `sort` as for the page before. Only `limit`, `expand` and "
    "`count` can differ.",
)
UNAUTHORIZED = Kind(
    "unauthorized",
    HTTPStatus.UNAUTHORIZED,
    "A key is required, or the key that you sent is not valid.",
    "Send `Authorization: Bearer …` with a valid key. `claim-records keys create` makes one.",
)
FORBIDDEN = Kind(
    "forbidden",
    HTTPStatus.FORBIDDEN,
    "The key does not have the scope that this request requires.",
    "Ask the operator of the service for a key with the scope that the `detail` names.",
)
NOT_FOUND = Kind(
    "not-found",
    HTTPStatus.NOT_FOUND,
    "Nothing exists at this address.",
    "Check the id: it is a UUID in lower case. The lists show which records exist.",
)
INVALID_PATH = Kind(
    "invalid-path",
    HTTPStatus.BAD_REQUEST,
    "The path is not valid text.",
    "Send the path as percent-encoded UTF-8, without U+0000.",
)
NOT_ACCEPTABLE = Kind(
    "not-acceptable",
    HTTPStatus.NOT_ACCEPTABLE,
    "This operation does not answer in a format that the request accepts.",
    "The `detail` names the formats. Without an `Accept` header the answer is JSON.",
)
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "This path does not support this method.",
    "The `Allow` header lists the methods that it supports.",
)
MALFORMED_REQUEST = Kind(
    "malformed-request",
    HTTPStatus.BAD_REQUEST,
    "The request is not valid HTTP.",
    "Send HTTP/1.1 (RFC 9112).",
)
WRONG_HOST = Kind(
    "wrong-host",
    HTTPStatus.MISDIRECTED_REQUEST,
    "The request names a host that this service does not have.",
    "Use a host name that the operator of the service has listed in `CLAIM_RECORDS_ALLOWED_HOSTS`.",
)
RATE_LIMITED = Kind(
    "rate-limited",
    HTTPStatus.TOO_MANY_REQUESTS,
    "You sent too many requests.",
    "Wait for `Retry-After` seconds. `RateLimit` says how many requests you have left.",
)
REQUEST_TIMEOUT = Kind(
    "request-timeout",
    HTTPStatus.REQUEST_TIMEOUT,
    "The body of the request did not arrive in time.",
    "Send the body without long pauses.",
)
NOT_UNIQUE = Kind(
    "not-unique",
    HTTPStatus.CONFLICT,
    "Another record has this value already.",
    "Change that record instead. `PUT …/by-external-id` writes the record with an external id.",
)
RELATION_EXISTS = Kind(
    "relation-exists",
    HTTPStatus.CONFLICT,
    "This symmetric relation already exists on the other record.",
    "A symmetric relation is stored on one of the two records only. Change it there.",
)
CIRCULAR_REFERENCE = Kind(
    "circular-reference",
    HTTPStatus.CONFLICT,
    "A reference leads back to the record itself.",
    "Remove one of the references on the way, in this record or in another one. A source can't be "
    "above itself or in itself, a claim can't be part of itself, and a denial can't answer or "
    "supersede itself.",
)
STILL_REFERENCED = Kind(
    "still-referenced",
    HTTPStatus.CONFLICT,
    "Other records refer to this one.",
    "First remove the references that `referrers` lists.",
)
TOO_MANY = Kind(
    "too-many",
    HTTPStatus.CONFLICT,
    "The largest allowed number of these already exists.",
    "Delete one that you no longer need.",
)
NOT_DELETED = Kind(
    "not-deleted",
    HTTPStatus.CONFLICT,
    "The record is not deleted.",
    "You can restore a record only after it was deleted.",
)
IDEMPOTENCY_IN_PROGRESS = Kind(
    "idempotency-in-progress",
    HTTPStatus.CONFLICT,
    "An earlier request with this `Idempotency-Key` is still in progress.",
    "Send the request again after `Retry-After` seconds. You then get the answer to the "
    "earlier request.",
)
GONE = Kind(
    "gone",
    HTTPStatus.GONE,
    "The record was deleted.",
    "Restore it with `POST …/restore` and `If-Match`. You can still read its revisions.",
)
RESYNC_REQUIRED = Kind(
    "resync-required",
    HTTPStatus.GONE,
    "The change feed cannot continue from this cursor.",
    "Export everything again (`GET /v1/export`), and follow the feed from the cursor in its first "
    "line.",
)
PRECONDITION_FAILED = Kind(
    "precondition-failed",
    HTTPStatus.PRECONDITION_FAILED,
    "The record is no longer at the version that you named.",
    "Apply your change to `current`, which is the record as it is now, and send its `ETag`.",
)
MERGE_REFUSED = Kind(
    "merge-refused",
    HTTPStatus.CONFLICT,
    "These two sources can't be merged.",
    "The `detail` says why. If it is a mistake, change the two sources first.",
)
NOT_MERGED = Kind(
    "not-merged",
    HTTPStatus.CONFLICT,
    "The source is not merged into another one.",
    "Name the merged source in the path, not its survivor; it can be unmerged only once.",
)
SOURCE_MERGED = Kind(
    "source-merged",
    HTTPStatus.CONFLICT,
    "The source is merged into another one, and can't be changed.",
    "Change the survivor instead (`GET` of the merged source leads to it), or unmerge "
    "the source first.",
)
BODY_TOO_LARGE = Kind(
    "body-too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The body is too large.",
    "Send a smaller body, or many records with `POST /v1/import`, whose body has no limit.",
)
URI_TOO_LONG = Kind(
    "uri-too-long",
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "The URL is too long.",
    "Send fewer or shorter parameters, for example fewer ids at a time. Lists, matching and "
    "reconciling also take their parameters in the body of a `POST`, which may be longer.",
)
UNSUPPORTED_MEDIA_TYPE = Kind(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "This operation does not read bodies of this media type or coding.",
    "The `detail` names the media type to send.",
)
INVALID_RECORD = Kind(
    "invalid-record",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "What you sent is not a valid record.",
    "Correct the `errors`. They list everything that is wrong, with its place.",
)
UNKNOWN_REFERENCE = Kind(
    "unknown-reference",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The record refers to records that do not exist.",
    "First create the records that `errors` names, or remove the references to them.",
)
IDEMPOTENCY_KEY_REUSED = Kind(
    "idempotency-key-reused",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "This `Idempotency-Key` was already used for a different request.",
    "Send a different key. For 48 hours a key stands for one request: its method, path, query, "
    "`If-Match` and body.",
)
NOT_APPLIED = Kind(
    "not-applied",
    HTTPStatus.FAILED_DEPENDENCY,
    "This line is valid, but another line was refused.",
    "Correct the refused lines and send the file again. An atomic import writes all lines or none.",
)
PRECONDITION_REQUIRED = Kind(
    "precondition-required",
    HTTPStatus.PRECONDITION_REQUIRED,
    "The request does not say which version it changes.",
    'Send `If-Match` with the `ETag` of the record, or with its version as `"v3"` (`*` overwrites '
    "any version). To create a record, send `If-None-Match: *`.",
)
HEADERS_TOO_LARGE = Kind(
    "headers-too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The headers of the request are too large.",
    "Send fewer or shorter headers.",
)
INTERNAL = Kind(
    "internal-error",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The service failed to answer the request.",
    "This is a bug in the service. The operator finds it in the log by the `request_id`.",
)
UNAVAILABLE = Kind(
    "unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The database cannot be reached or is too busy.",
    "Try again after `Retry-After` seconds.",
)
STORAGE_FULL = Kind(
    "storage-full",
    HTTPStatus.INSUFFICIENT_STORAGE,
    "There is no storage space left.",
    "Ask the operator of the service to free some space, then try again.",
)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in list(globals().values()) if isinstance(kind, Kind)
}
"""Every problem type, by name."""

OF_PARAMETERS: Final = (
    UNKNOWN_PARAMETER,
    DUPLICATE_PARAMETER,
    INVALID_PARAMETER,
    INVALID_CURSOR,
    CURSOR_MISMATCH,
)
"""The types of problem for which one query parameter can be refused."""

FAULT_CODES: Final[Mapping[str, str]] = {
    "required": "A required property is missing or null.",
    "wrong-type": "The value does not have the JSON type of the property.",
    "invalid-value": "The value is outside its bounds, or has a wrong length or form.",
    "unknown-term": "The value is not a term of the vocabulary.",
    "unknown-field": "There is no property of this name here.",
    "invalid-text": "The text contains U+0000, which the database cannot store.",
    "read-only": "The server sets this property. Leave it out, or send it back unchanged.",
    "duplicate-item": "The list contains this item twice.",
    "not-allowed": "The property is not allowed together with the others.",
    "out-of-order": "A lower bound is greater than its upper bound.",
    "impossible-date": "The date is not a valid date.",
    "too-precise": "A number has more than 15 significant digits.",
    "source-needed": "An attribution names no source and gives no reason for it.",
    "span-length": "The offsets of a span do not fit the length of its words.",
    "span-mismatch": "The article has other words at these offsets.",
    "outside-text": "The offsets are outside the text of the article.",
    "one-target": "A target must name exactly one of: a claim, a denial, an article, or words.",
    "self-reference": "A record cannot refer to itself here.",
    "unknown-reference": "There is no record with this id.",
    "circular-reference": "The reference leads back to the record, through other records.",
    "not-unique": "Another record has this value already.",
    "other-version": "The record is at another version than the one that you named.",
}
"""Every `code` of an item of `errors` in a body."""


class Problem(Exception):  # noqa: N818 - the name of RFC 9457
    """An answer that is not a success; `more` are its extension members."""

    def __init__(
        self,
        kind: Kind,
        detail: str | None = None,
        *,
        errors: Iterable[dict[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - JSON
    ) -> None:
        """Describe this case in `detail`; without one, the remedy of the type is used."""
        super().__init__(detail or kind.remedy)
        self.kind = kind
        self.detail = detail or kind.remedy
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.more = more

    def document(self, instance: str = "", request_id: str = "") -> dict[str, Any]:
        """Give the members of the problem; keys in a wrong place of the request are masked."""
        return {
            "type": f"/v1/problems/{self.kind.name}",
            "title": self.kind.title,
            "status": int(self.kind.status),
            "detail": masked(self.detail),
            "instance": masked(instance),
            "request_id": request_id,
            "code": self.kind.name,
            "errors": [
                {name: masked(value) for name, value in error.items()} for error in self.errors
            ],
            **self.more,
        }

    def under(self, above: str) -> Problem:
        """Give the same problem with pointers from an enclosing document."""
        errors = [
            {**error, "pointer": above + error["pointer"]} if "pointer" in error else error
            for error in self.errors
        ]
        detail = summary(errors) if errors and "pointer" in errors[0] else self.detail
        return Problem(self.kind, detail, errors=errors, headers=self.headers, **self.more)


MAX_ERRORS: Final = 1_000
"""A problem lists no more faults of a body than this."""


def pointer(path: Path) -> str:
    """Write a path as a JSON Pointer (RFC 6901)."""
    written = "/".join(["", *map(str, path)])
    if written.count("/") == len(path) and "~" not in written:
        return written
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def invalid_record(faults: Iterable[Fault], *, ill_formed: bool = False) -> Problem:
    """Report the faults of a record, at most `MAX_ERRORS` of them.

    The type is that of unknown references if there are any, unless the record is `ill_formed`.
    """
    listed = islice(faults, MAX_ERRORS)
    return record_problem(
        [{"pointer": pointer(f.path), "code": f.code, "detail": f.detail} for f in listed],
        ill_formed=ill_formed,
    )


def record_problem(errors: list[dict[str, str]], *, ill_formed: bool) -> Problem:
    """Report the faults of a record as :func:`invalid_record` does, given the `errors` to list."""
    unknown = [error for error in errors if error["code"] == "unknown-reference"]
    if not unknown or ill_formed:
        return Problem(INVALID_RECORD, summary(errors), errors=errors)
    return Problem(UNKNOWN_REFERENCE, summary(unknown), errors=errors)


def invalid_parameter(name: str, detail: str, kind: Kind = INVALID_PARAMETER) -> Problem:
    """Report what is wrong with one query parameter."""
    error = {"parameter": name, "code": kind.name, "detail": detail}
    return Problem(kind, f"`{name}`: {detail}", errors=[error])


def invalid_parameters(problems: Sequence[Problem]) -> Problem:
    """Report what is wrong with several query parameters, under the type of the first problem."""
    first, *others = problems
    if not others:
        return first
    errors = [error for problem in problems for error in problem.errors]
    unknown = [error for error in errors if error["code"] == UNKNOWN_PARAMETER.name]
    for error in unknown[1:]:  # the first one lists the names that there are, which are many
        error["detail"] = "This operation has no such parameter."
    return Problem(first.kind, f"{first.detail} And {len(others)} more in `errors`.", errors=errors)


def summary(errors: list[dict[str, str]]) -> str:
    """Describe the first fault, and say how many more there are."""
    first = errors[0]
    rest = f" And {len(errors) - 1} more in `errors`." if len(errors) > 1 else ""
    return f"`{first['pointer'] or '/'}`: {first['detail']}{rest}"


def retry_after(seconds: float) -> dict[str, str]:
    """Write the header that asks the client to wait, in whole seconds."""
    return {"Retry-After": str(math.ceil(seconds))}


def unavailable(detail: str) -> Problem:
    """Ask the client to try again in a second."""
    return Problem(UNAVAILABLE, detail, headers=retry_after(1))


def contended() -> Problem:
    """Give up on a record that others changed during every attempt."""
    return unavailable("Other requests keep changing this record.")
