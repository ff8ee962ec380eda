"""How the application is put together: routes once in a process, services for each application."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api import app as application
from api.app import create_app
from api.core.db import Database
from api.settings import Settings


def test_the_routes_are_registered_once_for_all_applications(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    application.shared_router()
    monkeypatch.setattr(application, "Litestar", None)  # whoever registers them again, fails
    for settings in (Settings(), Settings(open_reads=True)):
        create_app(settings, Database("", settings))


async def test_applications_with_the_same_routes_have_their_own_settings() -> None:
    answered = []
    for limit in (1, 3):
        settings = Settings(rate_per_minute=limit)
        transport: Any = httpx.ASGITransport(create_app(settings, Database("", settings)))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            found = [(await client.get("/v1/vocabularies")).status_code for _ in range(4)]
            answered.append(found.count(200))
    assert answered == [1, 3]


@pytest.mark.parametrize("stage", ["startup", "shutdown"])
async def test_the_server_is_told_where_starting_or_stopping_fails(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    async def fail(_: Database) -> None:
        raise ValueError(stage)

    async def succeed(_: Database) -> None:
        pass

    monkeypatch.setattr(Database, "open", fail if stage == "startup" else succeed)
    monkeypatch.setattr(Database, "close", fail if stage == "shutdown" else succeed)
    settings = Settings()
    app = create_app(settings, Database("postgresql://nobody@127.0.0.1:1/none", settings))
    sent = []

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ValueError, match=stage):
        await app({"type": "lifespan"}, receive, send)
    complete = [{"type": "lifespan.startup.complete"}] if stage == "shutdown" else []
    assert sent[:-1] == complete
    assert sent[-1]["type"] == f"lifespan.{stage}.failed"
    assert f"ValueError: {stage}" in sent[-1]["message"]
