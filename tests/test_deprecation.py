"""Deprecation: said once, with the handler, and from there on in the document and in answers."""

from __future__ import annotations

import datetime as dt
import json
from email.utils import parsedate_to_datetime

import httpx
import pytest
from litestar import get

from api import document as openapi
from api.app import create_app, create_router
from api.core.caller import PUBLIC
from api.core.db import Database
from api.core.deprecation import Deprecated
from api.core.operation import Operation
from api.core.request import Answer, Request, encoded
from api.settings import Settings
from schemas.keys import Me

_MADE_UP = Deprecated(dt.date(2026, 1, 31), dt.date(2027, 3, 1), "Use `getMe`.")
_OPERATION = Operation(
    tag="service",
    description="Made up.",
    success="It is made up.",
    answer=(Me,),
    example=Me(key_id=None, name=None, scopes=[], expires_at=None),
)


@get(
    "/v1/made-up",
    operation_id="getMadeUp",
    opt={"operation": _OPERATION, "scopes": PUBLIC, "deprecated": _MADE_UP},
)
async def get_made_up(request: Request) -> Answer:  # noqa: ARG001 - as all handlers
    """Get what is going to go."""
    return Answer(encoded(_OPERATION.example))


@pytest.fixture
def client() -> httpx.AsyncClient:
    """Ask a service that has an operation more; none of these asks the database."""
    settings = Settings()
    router = create_router()
    router.register(get_made_up)
    app = create_app(settings, Database("", settings), router=router)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_answers_say_that_their_operation_is_deprecated(client: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/v1/made-up", 200),
        ("HEAD", "/v1/made-up", 200),
    ):
        answer = await client.request(method, path)
        assert answer.status_code == status
        # RFC 9745: a Date of structured fields, which is @ and Unix seconds.
        since = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
        assert answer.headers["deprecation"] == f"@{int(since.timestamp())}"
        sunset = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
        assert parsedate_to_datetime(answer.headers["sunset"]) == sunset
        assert answer.headers["sunset"].endswith("GMT")


async def test_other_answers_do_not(client: httpx.AsyncClient) -> None:
    for path in ("/v1/vocabularies", "/v1/nothing"):
        answer = await client.get(path)
        assert not {"deprecation", "sunset"} & set(answer.headers)


@pytest.mark.long
def test_the_document_marks_the_operation() -> None:
    router = create_router()
    before = json.loads(openapi.build(router))
    router.register(get_made_up)
    after = json.loads(openapi.build(router))
    operation = after["paths"].pop("/v1/made-up")["get"]
    assert operation["deprecated"] is True
    assert operation["description"].startswith(
        "Deprecated since 2026-01-31, gone from 2027-03-01 on. Use `getMe`."
    )
    assert {"Deprecation", "Sunset"} <= set(operation["responses"]["200"]["headers"])
    assert after["paths"] == before["paths"]
    assert not any(
        "deprecated" in each for path in before["paths"].values() for each in path.values()
    )
