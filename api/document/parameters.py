"""The parameters of operations, in the path and in the query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import structs

from api.core.filters import Filter, Parameter
from api.core.resource import AS_OF, CURSOR, LIMIT, NAMESPACE, VALUE, Resource
from api.document import examples
from api.document.examples import story
from api.document.faces import Components
from api.document.templates import Json
from api.exchange import formats, lists
from api.exchange.formats import Format
from schemas.scalars import Id, Version
from schemas.vocabularies import RecordType


def described(
    parameter: Parameter,
    components: Components,
    *,
    where: str = "query",
    required: bool = False,
    record_type: RecordType | None = None,
) -> Json:
    """Describe a parameter of the path or the query.

    A required parameter has its example beside the schema: pages on which operations can be tried
    out send it from there. An optional one has it in the schema, so that such a page does not send
    sixty filters at once.
    """
    required = required or parameter.required
    schema = components.value(parameter.type)
    if parameter.many:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": parameter.max_items}
    elif parameter.terms:
        schema = {
            "type": "array",
            "items": {"type": "string", "enum": [str(term) for term in parameter.terms]},
            "minItems": 1,
            "maxItems": len(parameter.terms),
            "uniqueItems": True,
        }
    if parameter.default is not None:
        schema["default"] = parameter.default
    about: Json = {"name": parameter.name, "in": where, "description": parameter.description}
    if parameter.many:
        about["description"] += " Repeat the key for several."
    if where == "path":
        about["required"] = True
    example = examples.of_parameter(parameter, record_type)
    if required or where == "path":
        about["example"] = example
    else:
        schema["examples"] = [example]
    if parameter.many or parameter.terms:
        about |= {"style": "form", "explode": parameter.many}
    about["schema"] = schema
    return about | {"required": True} if required else about


def of_noun(resource: Resource, components: Components) -> dict[str, Json | list[Json]]:
    """Describe the parameters of a noun's operations, by name; `list` are those of its list."""
    record = story(resource)
    identity = Parameter("id", Id, f"The id of the {resource.type}.", example=record.id)
    version = Parameter(
        "version", Version, "The version of the record that the change made.", example=1
    )
    return {
        **{p.name: described(p, components, where="path") for p in (identity, version)},
        **{p.name: described(p, components) for p in (LIMIT, CURSOR)},
        AS_OF.name: described(AS_OF, components),
        "format": of_format(formats.of_record(resource.type), components),
        **{
            p.name: described(
                structs.replace(p, example=record.external_id[p.name]), components, required=True
            )
            for p in (NAMESPACE, VALUE)
        },
        "list": list(_of_list(resource, components)),
    }


def of_format(offered: Sequence[Format], components: Components) -> Json:
    """Describe `format`: a value that is none of these is 406, and not 400 as elsewhere."""
    about = described(formats.parameter(offered), components)
    about["schema"] = {
        "type": "string",
        "enum": [each.name for each in offered],
        "examples": about["schema"]["examples"],
    }
    return about


def _of_list(resource: Resource, components: Components) -> Iterable[Json]:
    """Describe the parameters of a list, as the service itself reads them."""
    filters = list(of_filters(resource, components))
    yield from filters
    named = {about["name"] for about in filters}
    for name, parameter in lists.parameters(resource).items():
        if name in named:
            continue
        about = described(parameter, components, record_type=resource.type)
        if name == "format":
            about = of_format(formats.of_list(resource.type), components)
        if name == "sort":
            kept = {key: about["schema"][key] for key in ("default", "examples")}
            about["schema"] = {"type": "string", "enum": list(resource.all_sorts)} | kept
        yield about


def of_filters(resource: Resource, components: Components) -> Iterable[Json]:
    """Describe the filters of a resource's list, which other operations take as well."""
    for declared in resource.all_filters:
        for parameter in declared.parameters:
            about = described(parameter, components, record_type=resource.type)
            about["description"] += _together_with(declared, parameter.name)
            if parameter.name == "q":
                about["description"] += f" The search covers {resource.searched}."
            yield about


def _together_with(declared: Filter, name: str) -> str:
    """Say with which other parameters of its filter a parameter can be used."""
    others = [p.name for p in declared.parameters if p.name != name]
    if not others or declared.needs == name:
        return ""
    if declared.needs is not None:
        return f" It requires `{declared.needs}`."
    *most, last = (f"`{other}`" for other in others)
    also = f"{', '.join(most)} or {last}" if most else last
    return f" If you also send {also}, one and the same {declared.element} must match all of them."
