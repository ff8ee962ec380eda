"""The OpenAPI document, put together from the routes of the service and the templates."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

from litestar import Litestar

from api.core.errors import FAULT_CODES, KINDS, OF_PARAMETERS
from api.core.idempotency import IDEMPOTENCY_KEY_PATTERN, MAX_IDEMPOTENCY_KEY
from api.document import operations, refusals
from api.document.faces import Components, meanings, open_terms
from api.document.nouns import Noun, add_unions
from api.document.refusals import Refusal
from api.document.route import in_reading_order
from api.document.templates import Json, fill, read
from schemas.examples import AT, CLAIM_ID, HEADERS, WEBHOOK_ID
from schemas.vocabularies import Link, RecordType, Scope
from schemas.webhooks import MESSAGE_ID_PATTERN, WebhookEvent, WebhookTestEvent

VERSION: Final = "0.2.0"

_GUIDES: Final = resources.files("openapi") / "guides"


def build(router: Litestar) -> bytes:
    """Write the OpenAPI document of the operations of a router; always the same bytes."""
    document = describe(router)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def describe(router: Litestar) -> Json:
    """Put the document together."""
    routes = in_reading_order(router)
    components = Components()
    resources = dict.fromkeys(route.resource for route in routes if route.resource)
    nouns = {
        resource: Noun(resource, components, operations.links_from(resource.type, routes))
        for resource in resources
    }
    add_unions(nouns.values(), components)
    examples = {name: each for noun in nouns.values() for name, each in noun.examples.items()}
    paths: dict[str, Json] = {}
    answers: dict[str, Refusal] = {}
    for route in routes:
        operation, refused = operations.describe(route, nouns, components, examples)
        paths.setdefault(route.path, {})[route.method] = operation
        answers |= {refusal.name: refusal for refusal in refused}
    problems = {name for refusal in answers.values() for name in refusal.examples}
    values = {
        **_values(components),
        "introduction": _guide("introduction"),
        "tags": [
            {"name": tag, "description": _guide(tag)}
            for tag in dict.fromkeys(route.tag for route in routes)
        ],
        "paths": paths,
        "responses": {name: refusals.response(each) for name, each in sorted(answers.items())},
        "examples": examples | refusals.examples(problems),
        "links": {name: link for noun in nouns.values() for name, link in noun.links.items()},
    }
    document: Json = fill(read("document"), values)
    named: Json = document["components"]
    named["schemas"] = dict(sorted((components.schemas | named["schemas"]).items()))
    if not any("deprecated" in route.handler.opt for route in routes):
        named["headers"] = {
            name: header
            for name, header in named["headers"].items()
            if name not in operations.OF_DEPRECATED
        }
    return document


def _guide(name: str) -> str:
    """Read the description of a tag, in Markdown."""
    return (_GUIDES / f"{name}.md").read_text(encoding="utf-8").strip()


def _values(components: Components) -> dict[str, Any]:
    """Give the values that the template takes from the code, except the operations."""
    faults = {**FAULT_CODES, **{kind.name: kind.title for kind in OF_PARAMETERS}}
    return {
        **HEADERS,
        "version": VERSION,
        "at": AT,
        "claim_id": CLAIM_ID,
        "webhook_id": WEBHOOK_ID,
        "message_id_pattern": MESSAGE_ID_PATTERN.replace(r"\Z", "$"),
        "WebhookEvent": components.response(WebhookEvent),
        "WebhookTestEvent": components.response(WebhookTestEvent),
        "idempotency_key_pattern": IDEMPOTENCY_KEY_PATTERN.replace(r"\Z", "$"),
        "max_idempotency_key": MAX_IDEMPOTENCY_KEY,
        "problem_types": open_terms({kind.name: kind.title for kind in KINDS.values()}),
        "fault_codes": open_terms(faults),
        "record_types": open_terms(meanings(RecordType)),
        "link_types": open_terms(meanings(Link)),
        "scopes": "\n".join(f"- `{scope}`: {scope.meaning}" for scope in Scope),
    }
