"""Problems (RFC 9457): all answers that are not a success, with each type declared once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import asyncpg

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
    "Send one JSON text in UTF-8 (RFC 8259): no NaN, no trailing comma, no key twice in an object, "
    "no lone surrogate.",
)
TOO_DEEP = Kind(
    "too-deep",
    HTTPStatus.BAD_REQUEST,
    "The body is nested too deeply.",
    "No record nests deeper than 8 levels; more than 32 are not read.",
)
UNKNOWN_PARAMETER = Kind(
    "unknown-parameter",
    HTTPStatus.BAD_REQUEST,
    "A query parameter is not known here.",
    "The OpenAPI document lists the parameters of each operation.",
)
DUPLICATE_PARAMETER = Kind(
    "duplicate-parameter",
    HTTPStatus.BAD_REQUEST,
    "A query parameter stands there twice.",
    "Only parameters ending in `__in` or `__nin` repeat their key.",
)
INVALID_PARAMETER = Kind(
    "invalid-parameter",
    HTTPStatus.BAD_REQUEST,
    "A query parameter's value is not valid.",
    "The `errors` say which parameter and what it takes.",
)
INVALID_HEADER = Kind(
    "invalid-header",
    HTTPStatus.BAD_REQUEST,
    "A request header's value is not valid.",
    "The `detail` says which header and what it takes.",
)
INVALID_CURSOR = Kind(
    "invalid-cursor",
    HTTPStatus.BAD_REQUEST,
    "The cursor is not one of ours.",
    "Use `next_cursor` as it was given, or leave `cursor` out to start from the first page.",
)
CURSOR_MISMATCH = Kind(
    "cursor-mismatch",
    HTTPStatus.BAD_REQUEST,
    "The cursor belongs to another list.",
    "Repeat the filters and the sort of the page that gave the cursor; only `limit`, `expand` and "
    "`count` may change.",
)
UNAUTHORIZED = Kind(
    "unauthorized",
    HTTPStatus.UNAUTHORIZED,
    "A key is needed, or the one sent is not valid.",
    "Send `Authorization: Bearer …` with a key; `claim-records keys create` makes one.",
)
FORBIDDEN = Kind(
    "forbidden",
    HTTPStatus.FORBIDDEN,
    "The key does not have the scope that this takes.",
    "Whoever gives out the keys can make one with the scope that the `detail` names.",
)
NOT_FOUND = Kind(
    "not-found",
    HTTPStatus.NOT_FOUND,
    "There is nothing here.",
    "Ids are canonical lower-case UUIDs; the lists say which records exist.",
)
INVALID_PATH = Kind(
    "invalid-path",
    HTTPStatus.BAD_REQUEST,
    "The path is not text.",
    "A path is percent-encoded UTF-8 without U+0000.",
)
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "This path does not take that method.",
    "The `Allow` header lists the methods that it takes.",
)
MALFORMED_REQUEST = Kind(
    "malformed-request",
    HTTPStatus.BAD_REQUEST,
    "What came is no HTTP request.",
    "Send HTTP/1.1 (RFC 9112).",
)
WRONG_HOST = Kind(
    "wrong-host",
    HTTPStatus.MISDIRECTED_REQUEST,
    "The request was meant for another host.",
    "Use a name that the service goes by; whoever runs it lists them in "
    "`CLAIM_RECORDS_ALLOWED_HOSTS`.",
)
RATE_LIMITED = Kind(
    "rate-limited",
    HTTPStatus.TOO_MANY_REQUESTS,
    "There were too many requests.",
    "Wait for `Retry-After` seconds; `RateLimit` says how many requests are left.",
)
REQUEST_TIMEOUT = Kind(
    "request-timeout",
    HTTPStatus.REQUEST_TIMEOUT,
    "The body did not come.",
    "Send the body without long pauses.",
)
NOT_UNIQUE = Kind(
    "not-unique",
    HTTPStatus.CONFLICT,
    "Another record has this value already.",
    "Change the one that has it instead; a record can also be written by its external id.",
)
RELATION_EXISTS = Kind(
    "relation-exists",
    HTTPStatus.CONFLICT,
    "This symmetric relation is recorded already, from the other end.",
    "A symmetric relation is stored once and found from both ends; change it where it stands.",
)
STILL_REFERENCED = Kind(
    "still-referenced",
    HTTPStatus.CONFLICT,
    "Other records refer to this one.",
    "Remove the references named in `referrers` first.",
)
TOO_MANY = Kind(
    "too-many",
    HTTPStatus.CONFLICT,
    "There are as many of these as there may be.",
    "Delete one that is of no use any more.",
)
NOT_DELETED = Kind(
    "not-deleted",
    HTTPStatus.CONFLICT,
    "The record is not deleted.",
    "Only a deleted record can be restored.",
)
IDEMPOTENCY_IN_PROGRESS = Kind(
    "idempotency-in-progress",
    HTTPStatus.CONFLICT,
    "A request with this `Idempotency-Key` is still being answered.",
    "Send it again after `Retry-After` seconds: it then gets the first one's answer.",
)
GONE = Kind(
    "gone",
    HTTPStatus.GONE,
    "The record was deleted.",
    "`POST …/restore` with `If-Match` brings it back; its revisions stay readable.",
)
RESYNC_REQUIRED = Kind(
    "resync-required",
    HTTPStatus.GONE,
    "The feed does not go on from this cursor.",
    "Take everything anew (`GET /v1/export`), and follow the feed from the cursor that it begins "
    "with.",
)
PRECONDITION_FAILED = Kind(
    "precondition-failed",
    HTTPStatus.PRECONDITION_FAILED,
    "The record is not at the version that you named.",
    "`current` is the record as it stands: apply your change to it and use its ETag.",
)
BODY_TOO_LARGE = Kind(
    "body-too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The body is too large.",
    "Many records go through `POST /v1/import`, which has no limit as a whole.",
)
URI_TOO_LONG = Kind(
    "uri-too-long",
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "The URL is too long.",
    "Ask for fewer ids at a time.",
)
UNSUPPORTED_MEDIA_TYPE = Kind(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The body's media type or coding is not one that this operation reads.",
    "The `detail` names the media type to send.",
)
INVALID_RECORD = Kind(
    "invalid-record",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The body is JSON, but not a valid record.",
    "`errors` lists everything that is wrong, each with its place.",
)
UNKNOWN_REFERENCE = Kind(
    "unknown-reference",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The record refers to records that do not exist.",
    "Create what `errors` points at first, or take the references out.",
)
IDEMPOTENCY_KEY_REUSED = Kind(
    "idempotency-key-reused",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Another request was sent with this `Idempotency-Key`.",
    "A key stands for one request for 48 hours: its method, path, query, `If-Match` and body. Send "
    "another request with another key.",
)
NOT_APPLIED = Kind(
    "not-applied",
    HTTPStatus.FAILED_DEPENDENCY,
    "Nothing is wrong with this line, but another one was refused.",
    "An atomic import keeps all lines or none: mend the refused ones and send the file again.",
)
PRECONDITION_REQUIRED = Kind(
    "precondition-required",
    HTTPStatus.PRECONDITION_REQUIRED,
    "A write has to say which version it changes.",
    "Send `If-Match` with the record's ETag (`*` overwrites whatever is there); create with "
    "`If-None-Match: *`.",
)
HEADERS_TOO_LARGE = Kind(
    "headers-too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request's headers are too large.",
    "Send fewer or shorter headers.",
)
INTERNAL = Kind(
    "internal-error",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The service failed.",
    "This is a bug of ours; the log has it under `request_id`.",
)
UNAVAILABLE = Kind(
    "unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The database is away or busy.",
    "Try again after `Retry-After` seconds.",
)
STORAGE_FULL = Kind(
    "storage-full",
    HTTPStatus.INSUFFICIENT_STORAGE,
    "The database has no room left.",
    "Whoever runs the service has to make room.",
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
"""What one query parameter can be refused for."""

FAULT_CODES: Final[Mapping[str, str]] = {
    "required": "A property that has to be there is missing, or null.",
    "wrong-type": "The value has another JSON type than the property takes.",
    "invalid-value": "The value breaks a bound, a length or a pattern.",
    "unknown-term": "The value is not a term of the vocabulary.",
    "unknown-field": "No such property is known here.",
    "invalid-text": "The text holds U+0000, which no database keeps.",
    "read-only": "The server sets this property; it can only be sent back as it was.",
    "duplicate-item": "The list has this item already.",
    "not-allowed": "The property does not go with the others.",
    "out-of-order": "A lower bound lies above its upper bound.",
    "impossible-date": "The date is on no calendar.",
    "too-precise": "A number has more than 15 significant digits.",
    "source-needed": "A hop without a source does not say why.",
    "span-length": "A span's offsets and words have different lengths.",
    "span-mismatch": "Other words stand in the article at these offsets.",
    "outside-text": "The offsets lie outside the text.",
    "one-target": "A target is exactly one of a claim, a denial, an article, or words.",
    "self-reference": "A record cannot refer to itself here.",
    "unknown-reference": "The id names no record.",
    "not-unique": "Another record has this value already.",
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
        """Give the members of the problem."""
        return {
            "type": f"/v1/problems/{self.kind.name}",
            "title": self.kind.title,
            "status": int(self.kind.status),
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            "code": self.kind.name,
            "errors": self.errors,
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
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def invalid_record(faults: Iterable[Fault]) -> Problem:
    """Report every fault of a record."""
    found = list(faults)[:MAX_ERRORS]
    errors = [{"pointer": pointer(f.path), "code": f.code, "detail": f.detail} for f in found]
    unknown = [error for error in errors if error["code"] == "unknown-reference"]
    kind = UNKNOWN_REFERENCE if unknown else INVALID_RECORD
    return Problem(kind, summary(unknown or errors), errors=errors)


def invalid_parameter(name: str, detail: str, kind: Kind = INVALID_PARAMETER) -> Problem:
    """Report what is wrong with one query parameter."""
    error = {"parameter": name, "code": kind.name, "detail": detail}
    return Problem(kind, f"`{name}`: {detail}", errors=[error])


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
    return unavailable("The record is being changed by others all the time.")


_UNIQUE = {
    "external_ids_pkey": ("/external_ids", "Another record of this type has this external id"),
    "articles_url_key": ("/url", "Another article has this URL"),
}
_DETAIL = re.compile(r"\)=\((?P<value>.*)\) already exists")


def from_database(error: BaseException) -> Problem | None:  # noqa: PLR0911 - one return a cause
    """Translate an error of the database into a problem; None if the service is to blame.

    Of the errors that a client's input can cause, only those of uniqueness get this far, because
    only the database can tell them, at the moment of writing.
    """
    match error:
        case asyncpg.UniqueViolationError(constraint_name="links_symmetric_key"):
            return Problem(RELATION_EXISTS)
        case asyncpg.UniqueViolationError(constraint_name=name) if name in _UNIQUE:
            where, what = _UNIQUE[name]
            found = _DETAIL.search(error.detail or "")
            detail = f"{what}: {found['value']}." if found else f"{what}."
            fault = {"pointer": where, "code": "not-unique", "detail": detail}
            return Problem(NOT_UNIQUE, detail, errors=[fault])
        case asyncpg.UniqueViolationError(constraint_name=str(name)) if name.endswith("_pkey"):
            return Problem(NOT_UNIQUE, "Another record has this id.")
        case asyncpg.DiskFullError():
            return Problem(STORAGE_FULL)
        case asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError():
            return unavailable("The database took too long; nothing was changed.")
        case (
            asyncpg.DeadlockDetectedError()
            | asyncpg.SerializationError()
            | asyncpg.TooManyConnectionsError()
            | asyncpg.PostgresConnectionError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.ReadOnlySQLTransactionError()
            | asyncpg.InterfaceError()
            | asyncpg.InternalClientError()
            | ConnectionError()
            | TimeoutError()
            | OSError()
        ):
            return unavailable("The database is away or busy.")
    return None
