"""The parameters of operations: in the query, in the path, in headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from api.core.filters import MAX_VALUES, Filter, Parameter
from api.core.request import IDEMPOTENCY_KEY_PATTERN, MAX_IDEMPOTENCY_KEY
from api.core.resource import NAMESPACE, VALUE
from api.document import examples
from api.document.faces import Components, Json
from api.document.nouns import Noun
from schemas.base import Id
from schemas.examples import HEADERS
from schemas.vocabularies import RecordType


def described(
    parameter: Parameter,
    components: Components,
    *,
    where: str = "query",
    of: RecordType | None = None,
    example: str | int | None = None,
) -> Json:
    """Describe a parameter of the path or the query.

    What has to be sent has its example as a parameter, which pages that try operations out send.
    Of what can be left out the schema has it: nobody means to send sixty filters at once.
    """
    schema = components.value(parameter.type)
    if parameter.many:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_VALUES}
    elif parameter.terms:
        schema = _several(parameter.terms)
    if parameter.default is not None:
        schema["default"] = parameter.default
    about: Json = {"name": parameter.name, "in": where, "description": parameter.description}
    if where == "path":
        about["required"] = True
    if example is None:
        schema["examples"] = [examples.of_query(parameter, of)]
    else:
        about["example"] = example
    if parameter.many or parameter.terms:
        about |= {"style": "form", "explode": parameter.many}
    return about | {"schema": schema}


def of_list(noun: Noun) -> Iterable[Json]:
    """Describe what a list can be asked, as the service itself reads it."""
    filters = {p.name: f for f in noun.of.all_filters for p in f.parameters}
    for name, parameter in noun.of.list_parameters.items():
        found = described(parameter, noun.components, of=noun.of.type)
        found["description"] += _company(filters.get(name), name)
        if name == "q":
            found["description"] += f" Searched are {noun.of.searched}."
        elif name == "sort":
            terms = {"type": "string", "enum": list(noun.of.all_sorts)}
            about = {key: found["schema"][key] for key in ("default", "examples")}
            found["schema"] = terms | about
        yield found


def _several(terms: Sequence[str]) -> Json:
    return {
        "type": "array",
        "items": {"type": "string", "enum": [str(term) for term in terms]},
        "minItems": 1,
        "maxItems": len(terms),
        "uniqueItems": True,
    }


def _company(declared: Filter | None, name: str) -> str:
    """Say which parameters of a filter belong together."""
    others = [p.name for p in declared.parameters if p.name != name] if declared else []
    if declared is None or not others:
        return ""
    if declared.needs == name:
        return ""
    if declared.needs is not None:
        return f" Goes with `{declared.needs}`."
    return f" Together with {' and '.join(f'`{other}`' for other in others)}: of the same one."


def identity(noun: Noun) -> Json:
    """Describe the id in the path."""
    parameter = Parameter("id", Id, f"The {noun.one}'s id.")
    return described(parameter, noun.components, where="path", example=noun.story.id)


def external_id(noun: Noun) -> list[Json]:
    """Describe the two parameters that name a record in another system."""
    return [
        described(parameter, noun.components, example=noun.story.external_id[parameter.name])
        | {"required": True}
        for parameter in (NAMESPACE, VALUE)
    ]


def header(name: str) -> Json:
    """Refer to a request header."""
    return {"$ref": f"#/components/parameters/{name}"}


def of_headers() -> dict[str, Json]:
    """Describe the request headers that operations read."""
    still = "The record's `ETag`: the write happens only if the record is still at that version."
    overwrites = "`*` overwrites whatever is there"
    return {
        "IfMatch": _of_header("If-Match", f"{still} {overwrites}.", required=True),
        "IfMatchOptional": _of_header("If-Match", f"{still} {overwrites}, and creates nothing."),
        "IfNoneMatch": _of_header(
            "If-None-Match",
            "An `ETag` that is at hand: if the record is still at that version, the answer is 304.",
        ),
        "IfNoneMatchToCreate": _of_header(
            "If-None-Match",
            "`*`: the write happens only if there is no such record yet.",
            example="*",
        ),
        "LastEventId": _of_header(
            "Last-Event-ID",
            "The `id` of the last event that was received: goes on behind it, instead of `since`.",
            least=0,
        ),
        "IdempotencyKey": _idempotency_key(
            "A text of one's own for this request, such as a UUID. Sent again with it within 48 "
            "hours, the request is not done again but gets the same answer, with "
            "`Idempotency-Replayed`; only what was refused or failed is tried anew. The key is the "
            "caller's: others may use the same one."
        ),
        "IdempotencyKeyOfLines": _idempotency_key(
            "A text of one's own for this file, such as a UUID. Sent again with it, lines without "
            "`id` and `external_id` create nothing that they created before."
        ),
    }


def _idempotency_key(description: str) -> Json:
    about = _of_header("Idempotency-Key", description)
    about["schema"] |= {
        "maxLength": MAX_IDEMPOTENCY_KEY,
        "pattern": IDEMPOTENCY_KEY_PATTERN.replace("\\Z", "$"),
    }
    return about


def _of_header(
    name: str, description: str, *, required: bool = False, least: int = 1, example: str = ""
) -> Json:
    about: Json = {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string", "minLength": least, "maxLength": 8_192},
    }
    if required:
        about["example"] = HEADERS[name]
    else:
        about["schema"]["examples"] = [example or HEADERS[name]]
    return about
