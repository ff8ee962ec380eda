"""What the protocol's clients send, and how records are written for them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct, field

from api.core.errors import INVALID_PARAMETER, Problem, invalid_parameter
from api.core.json_text import read_json
from api.matching.reconciling.reading import MAX_DESCRIPTION
from schemas.vocabularies import SourceKind

MAX_QUERIES: Final = 50
"""A batch has no more queries than this; OpenRefine sends ten."""
BATCH: Final = 10
"""A client is told to send so many queries at once: for these the time is enough."""
MAX_IDS: Final = 200
"""One request extends no more records than this."""
MAX_NAME: Final = 500
"""Characters of a name that is asked for; no source has a longer one."""
ANY: Final = {"id": "source", "name": "Source"}
"""The type of every source."""
PROPERTIES: Final = {
    "names": "Other names",
    "kind": "Kind",
    "identification": "Identification",
    "country_code": "Country",
    "description": "Description",
    "url": "URL",
    "external_ids": "Ids in other systems",
    "parent_id": "Part of",
}
"""The properties of a source that can be fetched, with their names."""
_MAX_FIELDS: Final = 10


class Asked(Struct):
    """A property that a candidate should have."""

    pid: str
    v: Any


class Query(Struct):
    """A query of a batch."""

    query: str = ""
    type: str | list[str] | None = None
    limit: int | float | None = None
    properties: list[Asked] = []
    type_strict: str | None = None

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """Give the kinds of sources that are asked for; null for all."""
        asked = [self.type] if isinstance(self.type, str) else self.type or []
        if not asked or ANY["id"] in asked:
            return None
        return tuple(sorted(set(asked) & {kind.value for kind in SourceKind}))

    @property
    def name(self) -> str:
        """Give the name that is asked for, or else the first property that could be one."""
        named = (each.v for each in self.properties if each.pid in ("name", "names"))
        text = self.query or next((each for each in named if isinstance(each, str)), "")
        return text.replace("\0", " ")

    @property
    def too_long(self) -> bool:
        """Tell whether the name that is asked for is longer than any name is."""
        return len(self.name) > MAX_NAME


class Property(Struct):
    """A property to fetch."""

    id: str


class Extension(Struct):
    """The records and the properties that a client asks to add to its table."""

    ids: list[str]
    properties: list[Property] = field(default_factory=list)


def read_form(body: bytes) -> dict[str, str]:
    """Read a form-encoded body."""
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except (UnicodeDecodeError, ValueError):
        raise Problem(
            INVALID_PARAMETER, f"The form is not UTF-8, or has more than {_MAX_FIELDS} fields."
        ) from None
    return dict(fields)


def read_queries(text: str) -> dict[str, Query]:
    """Read a batch of queries."""
    queries: dict[str, Query] = _converted("queries", text, dict[str, Query])
    if len(queries) > MAX_QUERIES:
        raise invalid_parameter("queries", f"It takes at most {MAX_QUERIES} queries.")
    for key, query in queries.items():
        if query.limit is not None and (query.limit < 1 or query.limit % 1):
            detail = f"The `limit` of query `{key[:100]}` is no positive integer."
            raise invalid_parameter("queries", detail)
    return queries


def read_extension(text: str) -> Extension:
    """Read which properties of which records are asked for."""
    extension: Extension = _converted("extend", text, Extension)
    if len(extension.ids) > MAX_IDS or len(extension.properties) > MAX_IDS:
        raise invalid_parameter("extend", f"It takes at most {MAX_IDS} ids and properties.")
    return extension


def _converted(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 - a type form
    try:
        return msgspec.convert(read_json(text.encode()), kind)
    except Problem as problem:  # which speaks of the body, and this is one field of it
        details = " ".join(error["detail"] for error in problem.errors) or problem.detail
        raise invalid_parameter(name, f"It is not JSON that can be read. {details}") from None
    except msgspec.ValidationError as error:
        raise invalid_parameter(name, f"It is not what the protocol says: {error}.") from None


def manifest(origin: str) -> dict[str, Any]:
    """Describe the service to a client."""
    base = f"{origin}/v1/reconcile"
    return {
        "versions": ["0.2"],
        "name": "claim-records: sources",
        "identifierSpace": f"{origin}/v1/sources/",
        "schemaSpace": f"{origin}/v1/vocabularies",
        "defaultTypes": [ANY],
        "batchSize": BATCH,
        "view": {"url": f"{origin}/v1/sources/{{{{id}}}}"},
        "preview": {"url": f"{base}/preview?id={{{{id}}}}", "width": 400, "height": 160},
        "suggest": {
            each: {"service_url": base, "service_path": f"/suggest/{each}"}
            for each in ("entity", "property", "type")
        },
        "extend": {
            "propose_properties": {"service_url": base, "service_path": "/properties"},
            "property_settings": [],
        },
    }


def types_of(source: Mapping[str, Any]) -> list[dict[str, str]]:
    """Give the types of a source: its kind, and that it is a source."""
    return [{"id": source["kind"], "name": _title(source["kind"])}, ANY]


def every_type() -> list[dict[str, str]]:
    """List all types."""
    return [ANY, *({"id": kind.value, "name": _title(kind.value)} for kind in SourceKind)]


def every_property() -> list[dict[str, str]]:
    """List all properties."""
    return [{"id": key, "name": name} for key, name in PROPERTIES.items()]


def title_of(source: Mapping[str, Any]) -> str:
    """Give what a source is called."""
    return str(source["name"] or _short(source) or source["id"])


def about(source: Mapping[str, Any]) -> str:
    """Say in a few words what a source is."""
    told = [_title(source["kind"]), source["country_code"], _short(source)]
    return ", ".join(each for each in told if each)


def _short(source: Mapping[str, Any]) -> str:
    return (source["description"] or "")[:MAX_DESCRIPTION]


def values(source: Mapping[str, Any], key: str, parents: Mapping[str, str]) -> list[dict[str, str]]:
    """Give the values of a property, as a client adds them to its table."""
    if key == "names":
        return [{"str": each["name"]} for each in source["names"]]
    if key == "external_ids":
        return [{"str": f"{e['namespace']}:{e['value']}"} for e in source["external_ids"]]
    value = source[key]
    if value is None:
        return []
    if key == "parent_id":
        return [{"id": value, "name": parents[value]}] if value in parents else []
    return [{"str": value}]


def page(source: Mapping[str, Any]) -> bytes:
    """Write a preview."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape('; '.join(told))}</dd>"
        for key, name in PROPERTIES.items()
        if key != "parent_id" and (told := [v["str"] for v in values(source, key, {})])
    )
    title = escape(title_of(source))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1><dl>{rows}</dl></body></html>"
    ).encode()


def _title(term: str) -> str:
    return term.replace("_", " ").capitalize()
