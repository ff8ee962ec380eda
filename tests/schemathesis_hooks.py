"""What schemathesis has to be told: how to write NDJSON, and records that it can go on with."""

from __future__ import annotations

import json
from typing import Any

import schemathesis

from schemas.examples import KEY_ID
from tests.factories import EVERY, unique

_WRITTEN = {noun.path: noun for noun in EVERY.values()}
_KEPT = ("note", "tags")
_given: set[str] = set()
"""The ETags that the service gave."""


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """Write one line."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.serializer("text/csv")
def table(_: Any, value: Any) -> bytes:
    """Write a table, or what is none."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def map_case(_: Any, case: Any) -> Any:
    """Write a record that can be, and name a version that is there, where others go on from it.

    Of those made up, few keep the rules between their properties and refer to what there is:
    nothing would come behind them. The other phases try them. And a name is written once: where
    the same requests get another answer the next time, schemathesis breaks off.
    """
    meta = case.meta
    if meta is None or meta.phase.name != "stateful":
        return case
    case.query.pop("as_of", None)  # the past of a deleted record is there, as it must be
    path = case.operation.path
    noun = _WRITTEN.get(path.removesuffix("/by-external-id").removesuffix("/{id}"))
    if noun is None or not meta.generation.mode.is_positive:
        return case
    case.headers.pop("If-None-Match", None)
    if case.headers.get("If-Match") not in _given:
        case.headers.pop("If-Match", None)
        if case.method != "GET" and path.endswith("/{id}"):
            case.headers["If-Match"] = "*"
    if path.endswith("/by-external-id"):
        case.query["value"] = unique()
    if isinstance(case.body, dict):
        kept = {name: case.body[name] for name in _KEPT if name in case.body}
        case.body = kept if case.method == "PATCH" else noun.minimal(**kept)
    return case


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Wait for no change, since nobody makes one, and leave the key alone that is used here."""
    if str(case.query.get("wait", "")).isdecimal():
        case.query["wait"] = min(1, int(case.query["wait"]))
    if case.path_parameters.get("id") == KEY_ID:
        case.path_parameters["id"] = KEY_ID[::-1]


@schemathesis.hook
def after_call(_: Any, __: Any, response: Any) -> None:
    """Remember the version that a record is at."""
    _given.update(response.headers.get("etag", ()))
