"""The OpenAPI document is what the service runs on, says so fully, and its examples really run."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, get
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import create_router, shared_router
from api.core.errors import GONE, KINDS, RESYNC_REQUIRED
from api.core.operation import Operation
from api.core.resource import Resource
from api.document import build
from api.document.examples import story
from api.document.templates import read
from api.exchange import lists
from api.records.nouns import RESOURCES
from schemas.examples import EXAMPLES, OTHERS
from schemas.shapes import fields, shape
from schemas.vocabularies import VOCABULARIES, Metric, RecordType, Scope

ROUTER = shared_router()
BUILT = build(ROUTER)
DOCUMENT: dict[str, Any] = json.loads(BUILT)
COMPONENTS: dict[str, dict[str, Any]] = DOCUMENT["components"]
SCHEMAS: dict[str, dict[str, Any]] = COMPONENTS["schemas"]
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation | {"method": method, "path": path}
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
RECORDS = {of.record.__name__ for of in RESOURCES.values()}

# Answers hold these only where there is something to say.
SOMETIMES = {
    "Problem": {"version", "export", "referrers"},
    "ProblemError": {"pointer", "parameter"},
    "AnnotationPage": {"next", "total"},
    **{
        f"{of.record.__name__}Included": {expansion.name for expansion in of.expansions}
        for of in RESOURCES.values()
    },
    "FigureIncluded": {"sources", "articles", "claims", "denials"},
    "SourceDuplicateIncluded": {"sources"},
    "ResponseThreadIncluded": {"sources", "articles", "claims", "denials"},
}

SOMETIMES_SENT = {
    "Link",
    "Retry-After",
    "Idempotency-Replayed",
    "Access-Control-Allow-Origin",
    "Content-Disposition",
    "Content-Encoding",
}


def resolved(found: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    target: Any = found
    while "$ref" in target:
        name = target["$ref"]
        target = DOCUMENT
        for step in name.removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
    result: dict[str, Any] = target
    return result


def references(value: Any) -> Iterator[str]:
    """Yield the names of the schemas that a value refers to, at any depth."""
    if isinstance(value, dict):
        if str(value.get("$ref", "")).startswith("#/components/schemas/"):
            yield value["$ref"].rpartition("/")[2]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def reachable(value: Any) -> set[str]:
    """Name the schemas that a value is made of."""
    found: set[str] = set()
    waiting = set(references(value))
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(references(SCHEMAS[name])) - found
    return found


REQUESTS = reachable([o.get("requestBody") for o in OPERATIONS.values()])
ANSWERS = reachable([o["responses"] for o in OPERATIONS.values()]) | reachable(
    COMPONENTS["responses"]
)
RECEIVED = reachable(DOCUMENT["webhooks"])
_OTHERS_TERMS = {
    *("Annotation/type", "Annotation/target/type"),
    *("ClaimPlaces/type", "ClaimPlace/type", "ClaimPlace/geometry/type"),
}
TAGS = {
    f"{place.rpartition('/')[2]}/{schema['discriminator']['propertyName']}"
    for schema in SCHEMAS.values()
    for place in schema.get("discriminator", {}).get("mapping", {}).values()
} | _OTHERS_TERMS
"""What tells the members of unions apart, and others' formats: the only constants in answers."""


def parts(schema: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a schema and those in it, down to references, each with its place."""
    yield where, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{where}/{name}")
    for inner in [
        *schema.get("anyOf", ()),
        *schema.get("allOf", ()),
        schema.get("items"),
        schema.get("additionalProperties"),
    ]:
        if isinstance(inner, dict):
            yield from parts(inner, where)


def unbounded(schema: dict[str, Any]) -> bool:
    """Tell whether a string, an array or a number has no bounds."""
    types = schema.get("type", [])
    types = {types} if isinstance(types, str) else set(types)
    return (
        ("string" in types and not {"maxLength", "enum", "const"} & schema.keys())
        or ("array" in types and "maxItems" not in schema)
        or (bool(types & {"integer", "number"}) and not {"minimum", "maximum"} <= schema.keys())
    )


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """List what keeps a value from being what a schema of the document says."""
    validator = OAS31Validator(schema | {"components": COMPONENTS})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def decoded(path: str, content: bytes) -> Any:
    """Read the document as it was served; the same bytes once, since YAML takes a second."""
    return (msgspec.json if path.endswith("json") else msgspec.yaml).decode(content)


# --- the file --------------------------------------------------------------------------------


def test_the_committed_file_is_what_the_code_says() -> None:
    committed = (resources.files("openapi") / "openapi.json").read_bytes()
    assert committed == BUILT, "write openapi/openapi.json anew, and read the difference"


async def test_the_service_gives_the_file_byte_for_byte(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    assert answer.content == (resources.files("openapi") / "openapi.json").read_bytes()
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json;version=3.1"


@pytest.mark.long
@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
async def test_the_document_comes_as_json_and_as_yaml_compressed_if_asked(
    client: httpx.AsyncClient, coding: str
) -> None:
    for path, media_type in (
        ("/openapi.json", "application/vnd.oai.openapi+json;version=3.1"),
        ("/openapi.yaml", "application/vnd.oai.openapi;version=3.1"),
    ):
        answer = await client.get(path, headers={"accept-encoding": coding})
        assert answer.headers.get("content-encoding", "identity") == coding
        assert (answer.headers["vary"], answer.headers["content-type"]) == (
            "Accept-Encoding",
            media_type,
        )
        assert decoded(path, answer.content) == DOCUMENT
        sent = int(answer.headers["content-length"])
        assert (sent < len(answer.content) / 5) == (coding != "identity")


@pytest.mark.long
def test_the_same_code_gives_the_same_bytes() -> None:
    assert build(create_router()) == BUILT


@pytest.mark.long
def test_it_is_valid_openapi() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_its_version_is_that_of_the_project() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert DOCUMENT["info"]["version"] == project["version"]
    assert DOCUMENT["info"]["license"]["identifier"] == project["license"]


def test_no_pattern_is_in_python_alone() -> None:
    assert rb"\\Z" not in BUILT


# --- operations ------------------------------------------------------------------------------


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    served = {
        (route.path.replace(":str}", "}"), method.lower())
        for route in ROUTER.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if handler.include_in_schema is not False
    }
    assert served == {(o["path"], o["method"]) for o in OPERATIONS.values()}


def test_only_pages_for_people_and_the_document_as_yaml_are_left_out() -> None:
    left_out = {
        route.path
        for route in ROUTER.routes
        for handler in getattr(route, "route_handlers", ())
        if handler.include_in_schema is False and handler.http_methods != {"OPTIONS"}
    }
    texts = ("tour", "questions", "anchors", "matching", "changelog")
    pages = {"/", "/docs", *(f"/docs/{each}" for each in texts)}
    # The Reconciliation Service API is a protocol of its own.
    pages |= {"/v1/reconcile", "/v1/reconcile/preview", "/v1/reconcile/properties"}
    pages |= {f"/v1/reconcile/suggest/{each}" for each in ("entity", "property", "type")}
    pages |= {"/explore", "/explore/{place:str}", "/explore/{place:str}/{identity:str}"}
    pages |= {"/explore/{place:str}/{identity:str}/history"}
    assets = {"/favicon.ico", "/assets/{name:str}", "/assets/explore/{name:str}"}
    assert left_out == pages | assets | {"/openapi.yaml"}


def test_records_link_to_what_can_be_asked_about_them() -> None:
    asked = {
        "getClaim": {"getClaimOrigins", "getClaimResponses", "listFigures"},
        "getDenial": {"getDenialResponses", "listFigures"},
        "getArticle": {"listAnnotations", "listLostAppearances"},
    }
    for name, links in asked.items():
        found = OPERATIONS[name]["responses"]["200"]["links"]
        assert {each for each in found if not each.endswith(name.removeprefix("get"))} == links
        for link in links:
            linked = resolved(found[link])
            operation = OPERATIONS[linked["operationId"]]
            known = {resolved(each)["name"] for each in operation["parameters"]}
            assert linked["parameters"].keys() <= known
            assert set(linked["parameters"].values()) == {"$response.body#/id"}


def test_an_operation_that_nothing_is_known_of_is_an_error() -> None:
    @get("/v1/untold", operation_id="getUntold")
    async def get_untold() -> None:
        """Tell nothing."""

    with pytest.raises(KeyError, match="operation"):
        build(Litestar([get_untold], openapi_config=None))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_told_in_full(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"].endswith(".")
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    statuses = {int(status) for status in operation["responses"]}
    assert {s for s in statuses if s < 300}
    assert 400 in statuses
    assert (500 in statuses) == (name != "getLiveness")  # which asks nobody
    for status, found in operation["responses"].items():
        answer = resolved(found)
        assert answer["description"]
        assert {"X-Request-Id", "Cache-Control"} <= answer["headers"].keys()
        if int(status) >= 400:
            (media,) = answer["content"]
            assert media == "application/problem+json"
            place = {"$ref": "#/components/schemas/Problem"}
            told = answer["content"][media]["schema"]
            assert place in (told, *resolved(told).get("allOf", ()))


@pytest.mark.parametrize("of", RESOURCES.values(), ids=RESOURCES)
def test_a_failed_precondition_shows_a_record_of_the_type_that_was_written(of: Resource) -> None:
    name = of.record.__name__
    written = [o for o in OPERATIONS.values() if o["path"].startswith(f"{of.path}/")]
    answers = [o["responses"]["412"] for o in written if "412" in o["responses"]]
    assert len(answers) >= 5
    for answer in map(resolved, answers):
        schema = resolved(answer["content"]["application/problem+json"]["schema"])
        _, own = schema["allOf"]
        assert own["required"] == ["current"]
        record = {"$ref": f"#/components/schemas/{name}"}
        assert own["properties"]["current"]["anyOf"] == [record, {"type": "null"}]
    for current in ({**example(name)}, None):
        assert faults(schema, example(f"{name}PreconditionFailed") | {"current": current}) == []
    other = example("Source" if name == "Claim" else "Claim")
    assert faults(schema, example(f"{name}PreconditionFailed") | {"current": other})


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_no_property_has_a_default(name: str) -> None:
    # openapi-typescript takes a property that has one for one that must be sent.
    assert not [where for where, schema in parts(SCHEMAS[name], name) if "default" in schema]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_write_to_a_version_needs_a_precondition(name: str) -> None:
    operation = OPERATIONS[name]
    given = [resolved(parameter) for parameter in operation.get("parameters", ())]
    expected = [p for p in given if p["name"] == "If-Match"]
    assert bool("428" in operation["responses"]) <= bool(expected)
    without_versions = {"deleteSourceIdentity", "updateWebhook", "deleteWebhook"}
    if name.startswith(("update", "delete", "restore")) and name not in without_versions:
        assert expected[0]["required"] is True


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_parameter_is_described_and_bounded(name: str) -> None:
    for found in OPERATIONS[name].get("parameters", ()):
        parameter = resolved(found)
        assert parameter["description"]
        assert not [
            where for where, s in parts(parameter["schema"], parameter["name"]) if unbounded(s)
        ]


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_scopes_are_ours(name: str) -> None:
    asked = OPERATIONS[name]["security"]
    assert {scheme for way in asked for scheme in way} <= COMPONENTS["securitySchemes"].keys()
    named = {scope for way in asked for scope in way.get("key", ())}
    assert named <= set(Scope)
    assert ("403" in OPERATIONS[name]["responses"]) == bool(named)  # for the key that has none


@pytest.mark.parametrize("of", RESOURCES.values(), ids=RESOURCES)
def test_a_list_tells_every_parameter_that_it_takes(of: Resource) -> None:
    listed = OPERATIONS[f"list{of.plural.title()}"]["parameters"]
    assert [p["name"] for p in listed] == list(lists.parameters(of))
    repeated = {p["name"] for p in listed if p.get("explode") is True}
    assert repeated == {p.name for p in of.list_parameters.values() if p.many}


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith("group")])
def test_the_example_of_groups_is_what_its_parameters_ask_for(name: str) -> None:
    (by,) = [each for each in OPERATIONS[name]["parameters"] if each["name"] == "by"]
    (media,) = OPERATIONS[name]["responses"]["200"]["content"].values()
    assert by["example"] == list(media["example"]["groups"]) == ["created_at:month"]
    (groups,) = media["example"]["groups"].values()
    assert [each["value"] for each in groups] == ["2024-12"]
    assert by["schema"]["maxItems"] == 5


def test_parameters_that_go_together_name_what_must_match_all_of_them() -> None:
    for resource in RESOURCES.values():
        for each in resource.all_filters:
            if len(each.parameters) > 1 and each.needs is None:
                assert each.element, [parameter.name for parameter in each.parameters]
    described = OPERATIONS["listClaims"]["parameters"]
    (about,) = [each["description"] for each in described if each["name"] == "assessor"]
    assert about.endswith(
        " If you also send `assessment_label`, one and the same rating must match all of them."
    )


def test_every_record_that_expand_brings_has_a_type() -> None:
    """Else generated clients know nothing of what is in `included`."""
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            (brought,) = [
                resolved(parameter)["schema"]["items"]["enum"]
                for parameter in operation.get("parameters", ())
                if resolved(parameter)["name"] == "expand"
            ] or [None]
            if brought is None:
                continue
            media = operation["responses"]["200"]["content"]["application/json"]
            included = resolved(resolved(media["schema"])["properties"]["included"])
            assert list(included["properties"]) == brought, path
            for records in included["properties"].values():
                assert set(records["additionalProperties"]) == {"$ref"}


def links(name: str, status: str) -> dict[str, dict[str, Any]]:
    """Give how one goes on from an answer."""
    told = resolved(OPERATIONS[name]["responses"][status]).get("links", {})
    return {name: resolved(link) for name, link in told.items()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_link_leads_to_an_operation(name: str) -> None:
    for status in OPERATIONS[name]["responses"]:
        for link in links(name, status).values():
            operation = OPERATIONS[link["operationId"]]
            told = [resolved(parameter) for parameter in operation["parameters"]]
            given = {each.removeprefix("header.") for each in link["parameters"]}
            assert given <= {each["name"] for each in told}
            assert given >= {each["name"] for each in told if each.get("required")}


def test_what_is_created_found_or_brought_back_leads_to_its_get() -> None:
    told = ("create", "restore", "upsert", "get")
    names = [n for n in OPERATIONS if n.startswith(told) and not n.endswith("Revision")]
    readable = {n.removeprefix("get") for n in names if n.startswith("get")}
    led = 0
    for name in names:
        of = re.sub("^(create|restore|upsert|get)|ByExternalId$", "", name)
        if of in readable and (name != f"get{of}" or of in RECORDS):
            statuses = [s for s in OPERATIONS[name]["responses"] if s in ("200", "201")]
            assert all(f"get{of}" in links(name, status) for status in statuses), name
            led += 1
    assert led == 5 * len(RECORDS) + 3


# --- schemas ---------------------------------------------------------------------------------


def test_every_schema_is_used() -> None:
    assert set(SCHEMAS) == REQUESTS | ANSWERS | RECEIVED | reachable(
        [o.get("parameters") for o in OPERATIONS.values()]
    )


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_string_list_and_number_is_bounded(name: str) -> None:
    assert not [where for where, schema in parts(SCHEMAS[name], name) if unbounded(schema)]


# Whoever sends a request names it as they like; of keys, which the audit log names, no form is
# promised.
_FORMLESS = {"request_id", "key_id", "record_id"}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_whatever_has_a_form_says_so(name: str) -> None:
    for field, schema in SCHEMAS[name].get("properties", {}).items():
        if re.fullmatch(r"(.+_)?(id|at|url|ids)|embargoed_until", field) and field not in _FORMLESS:
            told = [s for _, s in parts(schema, field) if "string" in s.get("type", ())]
            assert all({"format", "pattern"} & s.keys() for s in told), field


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_everything_is_described(name: str) -> None:
    assert SCHEMAS[name]["description"]
    assert not [
        f"{name}.{field}"
        for field, schema in SCHEMAS[name].get("properties", {}).items()
        if not schema.get("description") and "$ref" not in schema
    ]


@pytest.mark.parametrize("name", sorted(REQUESTS - ANSWERS))
def test_a_request_is_closed(name: str) -> None:
    schema = SCHEMAS[name]
    if "oneOf" in schema:
        assert {each["$ref"].rpartition("/")[2] for each in schema["oneOf"]} <= REQUESTS
        return
    assert "enum" in schema or schema["additionalProperties"] is False
    if not name.endswith(
        ("Query", "FiltersInput")
    ):  # a query may ask for a term that nobody has used
        assert all("x-extensible-enum" not in s or s.get("pattern") for _, s in parts(schema, name))


@pytest.mark.parametrize("name", sorted(ANSWERS | RECEIVED))
def test_an_answer_is_open_and_always_whole(name: str) -> None:
    schema = SCHEMAS[name]
    for where, part in parts(schema, name):
        assert not {"default", "readOnly", "enum"} & part.keys()
        assert "const" not in part or where in TAGS
        assert part.get("additionalProperties") is not False
    always = set(schema.get("required", ()))
    assert set(schema.get("properties", ())) - always == SOMETIMES.get(name, set())


@pytest.mark.parametrize("name", sorted(n for n in SCHEMAS if "oneOf" in SCHEMAS[n]))
def test_a_union_tells_its_members_apart(name: str) -> None:
    tag = SCHEMAS[name]["discriminator"]
    assert list(tag["mapping"].values()) == [member["$ref"] for member in SCHEMAS[name]["oneOf"]]
    for term, place in tag["mapping"].items():
        member = SCHEMAS[place.rpartition("/")[2]]
        assert member["properties"][tag["propertyName"]]["const"] == term
        assert tag["propertyName"] in member["required"]


def test_requests_and_answers_share_no_schema() -> None:
    # A line of an import that is refused brings its problem along: an answer, and so are its parts.
    assert set() == REQUESTS & ANSWERS


@pytest.mark.parametrize("of", RESOURCES.values(), ids=RESOURCES)
def test_a_record_has_the_properties_of_its_struct_in_their_order(of: Resource) -> None:
    names = [field.encode_name for field in fields(of.record)]
    record = SCHEMAS[of.record.__name__]
    assert list(record["properties"]) == names
    assert record["required"] == names
    for face in (of.create.__name__, of.update.__name__):
        assert set(SCHEMAS[face]["properties"]) == set(names)
        own = [field.encode_name for field in fields(of.create)]
        writable = [n for n, s in SCHEMAS[face]["properties"].items() if not s.get("readOnly")]
        assert sorted(writable) == sorted(own)


@pytest.mark.parametrize("of", RESOURCES.values(), ids=RESOURCES)
def test_what_the_server_fills_in_is_never_null_in_an_answer(of: Resource) -> None:
    record = SCHEMAS[of.record.__name__]["properties"]
    for field in fields(of.create):
        schema = record[field.encode_name]
        found = shape(field.type)
        null = "null" in str(schema.get("type")) or {"type": "null"} in schema.get("anyOf", ())
        assert null == (found.optional and not found.filled)


def test_every_term_stands_there_with_its_meaning() -> None:
    text = json.dumps(SCHEMAS, ensure_ascii=False)
    for vocabulary in VOCABULARIES.values():
        for term in vocabulary:
            assert json.dumps(f"`{term.value}`: {term.meaning}", ensure_ascii=False)[1:-1] in text
    told = (SCHEMAS["Quantity"], SCHEMAS["QuantityInput"])
    metrics = [of["properties"]["metric"] for of in told]
    metrics += [
        p["schema"] for p in OPERATIONS["listClaims"]["parameters"] if p["name"] == "metric"
    ]
    for schema in metrics:
        assert schema["x-extensible-enum"] == [metric.value for metric in Metric]
        assert all(
            f"`{metric.value}`: {metric.meaning}" in schema["description"] for metric in Metric
        )


def test_terms_that_no_record_has_are_told_too() -> None:
    for name, field in (
        ("AuditEvent", "op"),
        ("AuditEvent", "record_type"),
        ("Referrer", "type"),
        ("Referrer", "link"),
        ("Problem", "code"),
        ("ProblemError", "code"),
        ("Health", "status"),
    ):
        schema = SCHEMAS[name]["properties"][field]
        assert schema["x-extensible-enum"]
        for term in schema["x-extensible-enum"]:
            assert f"\n- `{term}`: " in schema["description"]


@pytest.mark.parametrize("of", RESOURCES.values(), ids=RESOURCES)
def test_a_filter_says_may_be_and_known_only_where_that_is_so(of: Resource) -> None:
    record = SCHEMAS[of.record.__name__]["properties"]
    for name, parameter in of.list_parameters.items():
        field, _, op = name.partition("__")
        if op == "nin":
            assert ("known" in parameter.description) == ("null" in record[field]["type"])
        if op in ("gt", "gte", "lt", "lte"):
            assert (" may be " in parameter.description) == (
                field not in record or "$ref" in str(record[field])
            )


def test_claims_and_sources_have_relations_that_may_be_there_already() -> None:
    told = {
        name
        for name, operation in OPERATIONS.items()
        for answer in operation["responses"].values()
        for media in resolved(answer).get("content", {}).values()
        if "relation-exists" in media.get("examples", {})
    }
    names = ("create{}", "replace{}", "update{}", "restore{}", "upsert{}ByExternalId")
    assert told == {name.format(noun) for name in names for noun in ("Claim", "Source")}


def test_what_refers_to_nothing_has_no_unknown_references() -> None:
    for name in ("createKey", "rotateKey", "createWebhook", "updateWebhook", "replayWebhook"):
        (media,) = resolved(OPERATIONS[name]["responses"]["422"])["content"].values()
        assert "unknown-reference" not in media["examples"]
        assert "invalid-record" in media["examples"]


# --- examples --------------------------------------------------------------------------------


def parameters() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every parameter, of the requests that receivers get too."""
    received = {n: message["post"] for n, message in DOCUMENT["webhooks"].items()}
    for name, operation in (OPERATIONS | received).items():
        for found in operation.get("parameters", ()):
            parameter = resolved(found)
            yield f"{name} {parameter['name']}", parameter


def of_parameter(parameter: dict[str, Any]) -> list[Any]:
    """Give a parameter's examples: its own if it has to be sent, else its schema's."""
    if parameter.get("required"):
        return [parameter["example"]]
    assert "example" not in parameter, "a page to try it out on would send it unasked"
    found: list[Any] = parameter["schema"]["examples"]
    return found


def shown() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield every example with the schema that it stands beside."""
    answers = [(name, answer) for name, answer in COMPONENTS["responses"].items()]
    for name, message in DOCUMENT["webhooks"].items():
        answers.append((f"{name} webhook", message["post"]["requestBody"]))
    for name, operation in OPERATIONS.items():
        answers += [(f"{name} {s}", resolved(a)) for s, a in operation["responses"].items()]
        if "requestBody" in operation:
            answers.append((f"{name} request", operation["requestBody"]))
    for name, parameter in parameters():
        for value in of_parameter(parameter):
            yield name, parameter["schema"], value
    for name, header in COMPONENTS["headers"].items():
        yield name, header["schema"], header["example"]
    for name, answer in answers:
        for media in answer.get("content", {}).values():
            values = [resolved(each)["value"] for each in media.get("examples", {}).values()]
            for value in [media["example"]] if "example" in media else values:
                yield name, media["schema"], value


@pytest.mark.long
def test_every_example_is_valid() -> None:
    assert [(name, found) for name, s, value in shown() if (found := faults(s, value))] == []


def test_every_parameter_and_header_has_an_example() -> None:
    assert [name for name, parameter in parameters() if not of_parameter(parameter)] == []
    assert [name for name, told in COMPONENTS["headers"].items() if "example" not in told] == []


def test_every_body_and_every_success_says_what_it_is() -> None:
    for name, operation in OPERATIONS.items():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for each in (*bodies, *(operation["responses"].values())):
            told = resolved(each)["description"]
            assert told.endswith("."), name
            assert told != "Done.", name
        for body in bodies:
            assert re.search(r"[0-9,]{7,} bytes", body["description"]), name


def test_a_problem_that_is_alone_says_its_code_and_the_way_out() -> None:
    for answer in COMPONENTS["responses"].values():
        kinds = {e["value"]["code"] for e in map(resolved, _examples_of(answer))}
        for code in kinds:
            assert f"- `{code}`: {KINDS[code].title} {KINDS[code].remedy}" in answer["description"]


def _examples_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for media in answer["content"].values() for each in media["examples"].values()]


def test_every_problem_that_the_templates_name_is_answered_somewhere() -> None:
    problems = read("problems")
    named = problems["responses"].keys() - {"PreconditionFailed"}  # each type of record has its own
    own = {f"{record}PreconditionFailed" for record in RECORDS}
    assert named | own == COMPONENTS["responses"].keys()
    assert problems["examples"].keys() <= COMPONENTS["examples"].keys()


def test_operations_with_an_unnamed_mixture_of_problems_are_an_error() -> None:
    operation = Operation(
        tag="keys", description="Made up.", success="Made up.", refusals=(GONE, RESYNC_REQUIRED)
    )

    @get("/v1/mixed", operation_id="getMixed", opt={"operation": operation, "scopes": ()})
    async def get_mixed() -> None:
        """Mix problems of one status."""

    with pytest.raises(LookupError, match="gone, resync-required"):
        build(Litestar([get_mixed], openapi_config=None))


def test_every_body_has_an_example() -> None:
    told = {name for name, _, _ in shown()}
    assert {f"{name} webhook" for name in DOCUMENT["webhooks"]} <= told
    for name, operation in OPERATIONS.items():
        assert "requestBody" not in operation or f"{name} request" in told
        for status, answer in operation["responses"].items():
            assert "content" not in resolved(answer) or f"{name} {status}" in told


def test_an_example_of_a_problem_is_of_its_type() -> None:
    for name in KINDS.keys() & COMPONENTS["examples"].keys():
        value = COMPONENTS["examples"][name]["value"]
        kind = KINDS[name]
        assert (value["code"], value["title"], value["status"]) == (name, kind.title, kind.status)


def check(answer: httpx.Response, name: str) -> Any:
    """Hold an answer to what the document says of the operation, and give its body."""
    operation = OPERATIONS[name]
    told = resolved(operation["responses"][str(answer.status_code)])
    required = told["headers"].keys() - SOMETIMES_SENT
    if operation["path"].startswith("/health/"):  # nothing is counted there
        required -= {"RateLimit", "RateLimit-Policy"}
    assert {h.lower() for h in required} <= answer.headers.keys()
    if "content" not in told:
        assert answer.content == b""
        return None
    sent = answer.headers["content-type"]
    media = told["content"].get(sent) or told["content"][sent.partition(";")[0]]
    assert faults(media["schema"], answer.json()) == []
    return answer.json()


def example(name: str) -> Any:
    """Give an example of the document."""
    return COMPONENTS["examples"][name]["value"]


TIMES = {"created_at", "updated_at", "at"}


def timeless(value: Any) -> Any:
    """Leave out the server's times, which no example can know."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


async def create_others(client: httpx.AsyncClient) -> None:
    """Write the records that the examples refer to, but those of the examples."""
    for identity, body in OTHERS.items():
        answer = await client.put(
            f"/v1/sources/{identity}", json=body, headers={"If-None-Match": "*"}
        )
        assert answer.status_code == 201, answer.text


async def create_all(client: httpx.AsyncClient) -> None:
    """Write the example records, each under its id, and those that they refer to."""
    await create_others(client)
    for of in map(RESOURCES.__getitem__, EXAMPLES):
        name = of.record.__name__
        answer = await client.put(
            f"{of.path}/{story(of).id}",
            json=example(f"{name}Create"),
            headers={"If-None-Match": "*"},
        )
        assert answer.status_code == 201, answer.text
        assert timeless(check(answer, f"replace{name}")) == timeless(example(name))


@pytest.mark.long
async def test_the_examples_are_what_the_service_answers(empty: httpx.AsyncClient) -> None:
    await create_all(empty)
    for of in map(RESOURCES.__getitem__, EXAMPLES):
        name, plural = of.record.__name__, of.record.__name__ + "s"
        path, external = f"{of.path}/{story(of).id}", f"{of.path}/by-external-id"
        pair = story(of).external_id
        tag = {"If-Match": (await empty.get(path)).headers["etag"]}
        body = example(f"{name}Create")
        for operation, expected, answer in (
            (f"get{name}", name, await empty.get(path)),
            (f"get{name}ByExternalId", name, await empty.get(external, params=pair)),
            (
                f"list{plural}",
                f"{name}Page",
                await empty.get(of.path, params={"id__in": story(of).id}),
            ),
            (f"list{name}Revisions", f"{name}RevisionPage", await empty.get(f"{path}/revisions")),
            (f"get{name}Revision", f"{name}Revision", await empty.get(f"{path}/revisions/1")),
            (f"replace{name}", name, await empty.put(path, json=body, headers=tag)),
            (f"upsert{name}ByExternalId", name, await empty.put(external, params=pair, json=body)),
        ):
            assert answer.status_code == 200, answer.text
            assert timeless(check(answer, operation)) == timeless(example(expected))
        unchanged = await empty.get(path, headers={"If-None-Match": tag["If-Match"]})
        assert unchanged.status_code == 304
        check(unchanged, f"get{name}")
        patch = await empty.patch(
            path,
            content=json.dumps(example(f"{name}Update")),
            headers=tag | {"Content-Type": "application/merge-patch+json"},
        )
        assert timeless(check(patch, f"update{name}")) == timeless(example(f"{name}Updated"))


@pytest.mark.long
async def test_the_examples_can_be_deleted_and_restored(empty: httpx.AsyncClient) -> None:
    await create_all(empty)
    tombstones = {}
    for of in reversed([RESOURCES[type_] for type_ in EXAMPLES]):
        path, name = f"{of.path}/{story(of).id}", of.record.__name__
        deleted = await empty.delete(path, headers={"If-Match": "*"})
        assert deleted.status_code == 204
        check(deleted, f"delete{name}")
        gone = await empty.get(path)
        assert gone.status_code == 410
        assert check(gone, f"get{name}")["version"] == example("gone")["version"]
        tombstones[of] = {"If-Match": gone.headers["etag"]}
    for of in map(RESOURCES.__getitem__, EXAMPLES):
        path, name = f"{of.path}/{story(of).id}", of.record.__name__
        back = await empty.post(f"{path}/restore", headers=tombstones[of])
        assert timeless(check(back, f"restore{name}")) == timeless(example(f"{name}Restored"))


async def test_created_records_are_found_by_the_links(empty: httpx.AsyncClient) -> None:
    for of in map(RESOURCES.__getitem__, EXAMPLES):
        name = of.record.__name__
        if of.type in ("source", "article"):  # the others refer to ids that are not there
            created = await empty.post(of.path, json=example(f"{name}Create"))
            assert created.status_code == 201
            record = check(created, f"create{name}")
            found = await empty.get(f"{of.path}/{record['id']}")
            assert check(found, f"get{name}") == record


async def test_refusals_are_as_told(empty: httpx.AsyncClient) -> None:
    await create_all(empty)
    claim = f"/v1/claims/{EXAMPLES[RESOURCES[RecordType.CLAIM].type].id}"
    source = f"/v1/sources/{EXAMPLES[RESOURCES[RecordType.SOURCE].type].id}"
    patch = {"Content-Type": "application/merge-patch+json"}
    for operation, code, answer in (
        ("listClaims", "unknown-parameter", await empty.get("/v1/claims?colour=red")),
        ("listClaims", "invalid-cursor", await empty.get("/v1/claims?cursor=x")),
        ("getClaim", "not-found", await empty.get("/v1/claims/1")),
        ("getClaim", "invalid-header", await empty.get(claim, headers={"If-None-Match": "x"})),
        ("createClaim", "unsupported-media-type", await empty.post("/v1/claims", content=b"{}")),
        ("createClaim", "invalid-record", await empty.post("/v1/claims", json={})),
        ("createClaim", "not-unique", await empty.post("/v1/claims", json=example("ClaimCreate"))),
        ("replaceClaim", "precondition-required", await empty.put(claim, json={"text": "x"})),
        (
            "updateClaim",
            "precondition-failed",
            await empty.patch(claim, content=b"{}", headers={"If-Match": '"x"'} | patch),
        ),
        (
            "updateClaim",
            "unsupported-media-type",
            await empty.patch(claim, json={}, headers={"If-Match": "*"}),
        ),
        (
            "deleteSource",
            "still-referenced",
            await empty.delete(source, headers={"If-Match": "*"}),
        ),
        (
            "restoreClaim",
            "not-deleted",
            await empty.post(f"{claim}/restore", headers={"If-Match": "*"}),
        ),
        ("getProblem", "not-found", await empty.get("/v1/problems/none")),
    ):
        assert check(answer, operation)["code"] == code


@pytest.mark.long
async def test_what_the_service_says_of_itself_is_as_told(client: httpx.AsyncClient) -> None:
    for operation, path in (
        ("getLiveness", "/health/live"),
        ("getReadiness", "/health/ready"),
        ("getProblem", "/v1/problems/not-found"),
    ):
        answer = await client.get(path)
        media = OPERATIONS[operation]["responses"]["200"]["content"]["application/json"]
        assert check(answer, operation) == media["example"]
    for operation, path in (
        ("listVocabularies", "/v1/vocabularies"),
        ("listProblems", "/v1/problems"),
        ("getOpenapi", "/openapi.json"),
    ):
        assert check(await client.get(path), operation)


async def test_an_import_answers_lines_as_told(empty: httpx.AsyncClient) -> None:
    operation = OPERATIONS["importRecords"]
    sent = operation["requestBody"]["content"]["application/x-ndjson"]["example"]
    media = operation["responses"]["200"]["content"]["application/x-ndjson"]
    answer = await empty.post(
        "/v1/import",
        content=json.dumps(sent) + '\n{"type": "claim", "data": {}}\n',
        headers={"Content-Type": "application/x-ndjson"},
    )
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [faults(media["schema"], line) for line in lines] == [[], [], []]
    told = {name: each["value"] for name, each in media["examples"].items()}
    assert lines[0] | {"id": ""} == told["result"] | {"id": ""}
    assert lines[1]["problem"]["errors"] == told["refused"]["problem"]["errors"]
    assert lines[2] == told["totals"]
