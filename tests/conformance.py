"""What schemathesis says of exchanges that it did not make up itself.

Its own random requests don't reach every status; the traffic that is directed at them does.
"""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from tests.traffic import BUSY, Exchange

if TYPE_CHECKING:
    from schemathesis import BaseSchema, Case, CheckResult, Response

JUDGED: Final = frozenset(
    {
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "not_a_server_error",  # but for what was brought out on purpose
    }
)
"""The checks that need no more than a request and its answer."""
_AS_MADE: Final = "asks how schemathesis made the request up: this one was written"
_WALK: Final = "asks what came before it on a walk"
_ASKS: Final = "sends requests of its own"
LEFT_OUT: Final = {
    "negative_data_rejection": _AS_MADE,
    "positive_data_acceptance": _AS_MADE,
    "missing_required_header": _AS_MADE,
    "unsupported_method": _AS_MADE,
    "allow_header_conformance": "is of OPTIONS, which is no operation",
    "use_after_free": _WALK,
    "ensure_resource_availability": _WALK,
    "ignored_auth": _ASKS,
    "object_level_authorization": _ASKS,
}
"""The others, each with its reason; `test_schemathesis.py` has them all."""
_LINES: Final = "OpenAPI 3.1 can't say (3.2 has `itemSchema`) that a schema is of each line"
_NOT_JSON: Final = "it reads only what it knows as JSON"
UNREAD: Final = {
    "application/x-ndjson": _LINES,
    "text/event-stream": _LINES,
    "text/csv": _NOT_JSON,
    "application/ld+json": _NOT_JSON,
    "application/geo+json": _NOT_JSON,
}
"""Media types whose bodies it can't hold to a schema: our own terms do."""


@cache
def _schemathesis() -> ModuleType:
    """Import schemathesis, which takes seconds, where it is used, and teach it to read a text."""
    import schemathesis  # noqa: PLC0415 - as above

    @schemathesis.deserializer("text/plain")
    def text(_: Any, response: Response) -> str:
        """Read a text, which is else passed over in silence."""
        return response.text

    return schemathesis


class Judge:
    """Holds exchanges to a document, by schemathesis' checks."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Take a document."""
        self._document = document
        self._schemas: dict[frozenset[str], BaseSchema] = {}
        self._made: set[str] = set()

    def faults(self, exchange: Exchange) -> list[str]:
        """List what an answer has or lacks otherwise than the document says."""
        from schemathesis.errors import FailureGroup  # noqa: PLC0415 - as above

        checks = checks_of(exchange)
        case = _case(self._schema(checks), exchange)
        self._made.clear()
        found: list[str] = []
        try:
            case.validate_response(exchange.answer)
        except FailureGroup as group:
            found = [f"{each.title}: {each.message[:300]}" for each in group.exceptions]
        assert self._made == checks, f"other checks than wanted: {sorted(self._made ^ checks)}"
        return found

    def _schema(self, checks: frozenset[str]) -> BaseSchema:
        """Read the document, for some checks."""
        if checks not in self._schemas:
            enabled = {"enabled": False, **{name: {"enabled": True} for name in checks}}
            config = _schemathesis().Config.from_dict({"checks": enabled})
            schema: BaseSchema = _schemathesis().openapi.from_dict(self._document, config=config)

            @schema.hook
            def after_validate(_: Any, __: Any, ___: Any, results: list[CheckResult]) -> None:
                self._made.update(result.name for result in results)

            self._schemas[checks] = schema
        return self._schemas[checks]


def checks_of(exchange: Exchange) -> frozenset[str]:
    """Name the checks that an exchange is held to."""
    left_out = set()
    if not is_read(exchange):
        left_out.add("response_schema_conformance")
    if exchange.status == exchange.aimed or exchange.status in BUSY:
        left_out.add("not_a_server_error")
    return JUDGED - left_out


def is_read(exchange: Exchange) -> bool:
    """Tell whether schemathesis holds a body of such a media type to its schema."""
    return media_type(exchange) not in UNREAD


def media_type(exchange: Exchange) -> str:
    """Give what an answer is made of, without its parameters."""
    found: str = exchange.headers.get("content-type", "")
    return found.partition(";")[0]


def _case(schema: BaseSchema, exchange: Exchange) -> Case[Any]:
    """Say what was sent; but for the body, which may be nonsense: no check here reads it."""
    operation, sent = exchange.operation, exchange.sent
    named = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", operation.path)
    path = re.fullmatch(named, sent.path)
    return schema[operation.path][operation.method].Case(
        path_parameters=path.groupdict() if path else {},
        headers=dict(sent.headers),
        query=dict(sent.query),
    )
