"""What the Reconciliation Service API 0.2 asks of each answer, in JSON Schema.

The protocol has schemas of its own; these say the same, and refuse besides what the protocol does
not name: https://www.w3.org/community/reports/reconciliation/CG-FINAL-specs-0.2-20230410/
"""

from __future__ import annotations

from typing import Any, Final

import jsonschema_rs

Schema = dict[str, Any]


def _object(needed: Schema, optional: Schema | None = None) -> Schema:
    """Describe an object that has no other properties."""
    return {
        "type": "object",
        "properties": needed | (optional or {}),
        "required": list(needed),
        "additionalProperties": False,
    }


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_TEXT: Final[Schema] = {"type": "string"}
_TEMPLATE: Final[Schema] = {"type": "string", "pattern": r"\{\{id\}\}"}
_TYPE: Final = _object({"id": _TEXT, "name": _TEXT})
_NAMED: Final = {"id": _TEXT, "name": _TEXT}
_SERVICE: Final = _object({"service_url": _TEXT, "service_path": _TEXT})
_CANDIDATE: Final = _object(
    {**_NAMED, "type": _list(_TYPE), "score": {"type": "number"}, "match": {"type": "boolean"}},
    {
        "description": _TEXT,
        "features": _list(_object({"id": _TEXT, "value": {"type": ["number", "boolean"]}})),
    },
)
_VALUE: Final[Schema] = {"oneOf": [_object({"str": _TEXT}), _object(_NAMED), _object({})]}

MANIFEST: Final = _object(
    {
        "versions": {"type": "array", "items": _TEXT, "contains": {"const": "0.2"}},
        "name": _TEXT,
        "identifierSpace": _TEXT,
        "schemaSpace": _TEXT,
    },
    {
        "defaultTypes": {**_list(_TYPE), "uniqueItems": True},
        "view": _object({"url": _TEMPLATE}),
        "preview": _object(
            {"url": _TEMPLATE, "width": {"type": "integer"}, "height": {"type": "integer"}}
        ),
        "suggest": _object(dict.fromkeys(("entity", "property", "type"), _SERVICE)),
        "extend": _object(
            {"propose_properties": _SERVICE, "property_settings": {**_list({}), "maxItems": 0}}
        ),
        "batchSize": {"type": "integer", "minimum": 1},
    },
)
RESULTS: Final[Schema] = {
    "type": "object",
    "additionalProperties": _object({"result": _list(_CANDIDATE)}, {"error": _TEXT}),
}
SUGGESTED_ENTITIES: Final = _object(
    {"result": _list(_object(_NAMED, {"description": _TEXT, "notable": _list(_TEXT)}))}
)
SUGGESTED: Final = _object({"result": _list(_object(_NAMED, {"description": _TEXT}))})
PROPOSED: Final = _object(
    {"properties": _list(_object(_NAMED, {"description": _TEXT}))},
    {"type": _TEXT, "limit": {"type": "integer"}},
)
EXTENDED: Final = _object(
    {
        "meta": _list(_object(_NAMED, {"type": _TYPE})),
        "rows": {
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": _list(_VALUE)},
        },
    }
)


def check(answer: Any, schema: Schema) -> None:
    """Fail unless an answer is what the protocol asks for."""
    jsonschema_rs.validate(schema, answer)
