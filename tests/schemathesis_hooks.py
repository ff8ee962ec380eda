"""What schemathesis has to be told: how to write NDJSON, and records that it can go on with."""

from __future__ import annotations

import json
from typing import Any

import schemathesis

from schemas.examples import KEY_ID
from tests.factories import EVERY

_WRITTEN = {noun.path: noun for noun in EVERY.values()}
_KEPT = ("note", "tags")


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """Write one line."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.hook
def map_case(_: Any, case: Any) -> Any:
    """Write a record that can be, where others go on from it.

    Of those made up, few keep the rules between their properties and refer to what there is:
    nothing would come behind them. The other phases try them.
    """
    meta = case.meta
    if meta is not None and meta.phase.name == "stateful":
        case.query.pop("as_of", None)  # the past of a deleted record is there, as it must be
    noun = _WRITTEN.get(case.operation.path.removesuffix("/by-external-id").removesuffix("/{id}"))
    if (
        noun is not None
        and case.method in {"POST", "PUT"}
        and meta is not None
        and meta.phase.name == "stateful"
        and meta.generation.mode.is_positive
        and isinstance(case.body, dict)
    ):
        case.body = noun.minimal(**{name: case.body[name] for name in _KEPT if name in case.body})
        if case.operation.path.endswith("/{id}"):
            case.headers.pop("If-None-Match", None)
            case.headers.setdefault("If-Match", "*")
    return case


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Wait for no change, since nobody makes one, and leave the key alone that is used here."""
    if str(case.query.get("wait", "")).isdecimal():
        case.query["wait"] = min(1, int(case.query["wait"]))
    if case.path_parameters.get("id") == KEY_ID:
        case.path_parameters["id"] = KEY_ID[::-1]
