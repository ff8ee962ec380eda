"""What a list can be asked, declared once.

A :class:`Filter` gives the query parameters, their validation, their entries in the OpenAPI
document and their SQL. The SQL is a condition on the list's table `t`, with `:name` where a
parameter's value goes, and `:sees(type, alias)` on each other record that it goes through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, Struct

from api.core import reasons
from api.core.errors import (
    DUPLICATE_PARAMETER,
    UNKNOWN_PARAMETER,
    invalid_parameter,
)
from schemas.base import Bound, Id, Language, Number, is_vocabulary, moment, shape
from schemas.vocabularies import Vocabulary

MAX_PARAMETERS: Final = 64
MAX_VALUES: Final = 200
Words = Annotated[str, Meta(min_length=1, max_length=500)]


class Parameter(Struct, frozen=True):
    """A query parameter, and the type of one value of it."""

    name: str
    type: Any
    description: str
    many: bool = False  # repeats its key
    terms: tuple[str, ...] = ()  # of which it takes several, with commas or repeating its key
    default: Any = None
    example: Any = None  # where neither its name nor its type says one


class Filter(Struct, frozen=True):
    """A condition that applies as soon as one of its parameters is given.

    Parameters that are not given are null in the SQL; `needs` names one without which the others
    mean nothing.
    """

    parameters: tuple[Parameter, ...]
    sql: str
    needs: str | None = None


def condition(name: str, kind: Any, sql: str, description: str, *, many: bool = False) -> Filter:  # noqa: ANN401
    """Declare a filter of one parameter."""
    return Filter((Parameter(name, kind, description, many),), sql)


def term(
    name: str, vocabulary: type[Vocabulary], what: str, *, nullable: bool = False
) -> list[Filter]:
    """Declare the filters of a column that holds a term: `name`, `name__in`, `name__nin`."""
    others = f"t.{name} = ANY(:{name}__nin::text[])"
    known = "known and none" if nullable else "none"
    return [
        condition(name, vocabulary, f"t.{name} = :{name}::text", f"{what} is this."),
        condition(
            f"{name}__in",
            vocabulary,
            f"t.{name} = ANY(:{name}__in::text[])",
            f"{what} is one of these; repeat the key.",
            many=True,
        ),
        # An index serves what a term is, not what it is not: the other terms are asked for.
        condition(
            f"{name}__nin",
            vocabulary,
            others,
            f"{what} is {known} of these; repeat the key.",
            many=True,
        ),
    ]


def reference(name: str, kind: Any, description: str) -> list[Filter]:  # noqa: ANN401 - a type form
    """Declare the filter of a column that holds an id."""
    return [condition(name, kind, f"t.{name} = :{name}::uuid", description)]


def times(name: str, what: str, start: str | None = None, end: str | None = None) -> list[Filter]:
    """Declare `gt`, `gte`, `lt`, `lte` on a time, or on the range between two columns.

    A date counts as its day in UTC. A range is found if some moment of it fits.
    """
    start = start or f"t.{name}"
    after = f"{end} >" if end else f"{start} >="
    what += " may be" if end else " is"
    return [
        condition(
            f"{name}__{op}", Bound, sql.replace(":x", f":{name}__{op}::text"), f"{what} {words}."
        )
        for op, sql, words in (
            ("gt", f"{after} time_bound(:x, true)", "after this date or instant"),
            ("gte", f"{after} time_bound(:x, false)", "at or after this date or instant"),
            ("lt", f"{start} < time_bound(:x, false)", "before this date or instant"),
            ("lte", f"{start} < time_bound(:x, true)", "at or before this date or instant"),
        )
    ]


def everywhere(record_type: str) -> list[Filter]:
    """Declare the filters that every list has."""
    return [
        condition(
            "id__in", Id, "t.id = ANY(:id__in::uuid[])", "These records; repeat the key.", many=True
        ),
        condition("tag", Words, "t.tags @> ARRAY[:tag::text]", "Has this tag."),
        Filter(
            (
                Parameter("external_namespace", Words, "The other system of an external id."),
                Parameter("external_value", Words, "The id used there."),
            ),
            "t.id IN (SELECT e.record_id FROM external_ids AS e"
            f" WHERE e.record_type = '{record_type}' AND e.namespace = :external_namespace::text"
            " AND (:external_value::text IS NULL OR e.value = :external_value::text))",
            needs="external_namespace",
        ),
        condition(
            "q",
            Words,
            "t.search @@ websearch_to_tsquery('claim_records', :q::text)",
            "Words to search for; “quoted phrases”, `or` and `-not` work. Accents and case are"
            " ignored.",
        ),
        *times("created_at", "Its creation"),
        *times("updated_at", "Its last change"),
    ]


def language() -> list[Filter]:
    """Declare the filter of the records that have a language."""
    return [condition("language", Language, "t.language = :language::text", "Is in this language.")]


# --- reading a query string ------------------------------------------------------------------

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")


def read_query(query: bytes, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Read a query string strictly: known names, once each, with values of their types."""
    given: dict[str, Any] = {}
    if not query:
        return given
    for pair in query.split(b"&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition(b"=")
        name = _text(raw_name, "")
        value = _text(raw_value, name)
        parameter = parameters.get(name)
        if parameter is None:
            detail = f"This operation has no such parameter. It has: {', '.join(parameters)}."
            raise invalid_parameter(name, detail, UNKNOWN_PARAMETER)
        converted = _value(parameter, value)
        if parameter.many:
            values = given.setdefault(name, [])
            values.append(converted)
            if len(values) > MAX_VALUES:
                raise invalid_parameter(name, f"At most {MAX_VALUES} values.")
        elif name in given and parameter.terms:
            given[name] += f",{converted}"
        elif name in given:
            raise invalid_parameter(name, "It stands there twice.", DUPLICATE_PARAMETER)
        else:
            given[name] = converted
        if len(given) > MAX_PARAMETERS:
            raise invalid_parameter(name, f"At most {MAX_PARAMETERS} different parameters.")
    return given


def _text(raw: bytes, name: str) -> str:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise invalid_parameter(name, "The query string is not UTF-8.") from None
    if "\0" in text:
        raise invalid_parameter(name, "U+0000 is in no text that is kept here.")
    return text


def _value(parameter: Parameter, text: str) -> Any:  # noqa: ANN401 - of the parameter's type
    """Read one value; `15` is an integer and ` 15`, `1_5` and `15.0` are not."""
    kind = shape(parameter.type).kind
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        if kind is int and parameter.type is not Number:
            if not _WHOLE.match(text):
                raise invalid_parameter(parameter.name, "It takes a whole number.")
            return msgspec.convert(int(text), parameter.type)
        if parameter.type is Number:
            return float(msgspec.json.decode(text, type=Number))
        value = msgspec.convert(text, parameter.type)
    except KeyError:
        raise invalid_parameter(parameter.name, "It takes `true` or `false`.") from None
    except msgspec.MsgspecError as error:
        detail = _refused(parameter, str(error))
        raise invalid_parameter(parameter.name, detail) from None
    if parameter.type is Bound and moment(text) is None:
        raise invalid_parameter(parameter.name, f"{text} is on no calendar.")
    return value


def _refused(parameter: Parameter, reason: str) -> str:
    found = shape(parameter.type)
    if is_vocabulary(found.kind):
        return f"It takes one of {', '.join(term.value for term in found.kind)}."
    if parameter.type is Number and not reason.startswith("Expected `"):
        return "It takes a number."
    return reasons.told(reason, found.form)


# --- from values to SQL ----------------------------------------------------------------------

_PLACE = re.compile(r"(?<!:):([a-z_]+)\b(?!\()")


def conditions(
    filters: Iterable[Filter], given: Mapping[str, Any], arguments: list[Any]
) -> list[str]:
    """Write the conditions of the given parameters, appending their values to `arguments`."""
    written = []
    for declared in filters:
        names = [p.name for p in declared.parameters if p.name in given]
        if not names:
            continue
        if declared.needs is not None and declared.needs not in given:
            raise invalid_parameter(names[0], f"It goes with `{declared.needs}`.")
        places: dict[str, str] = {}
        for parameter in declared.parameters:
            arguments.append(_argument(parameter, given))
            places[parameter.name] = f"${len(arguments)}"
        written.append(_PLACE.sub(lambda place, of=places: of[place[1]], declared.sql))  # type: ignore[misc]
    return written


def _argument(parameter: Parameter, given: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Give what a parameter is in SQL."""
    value = given.get(parameter.name)
    if parameter.name == "q" and value is not None:
        return searchable(value)
    if parameter.name.endswith("__nin") and value is not None:
        return [term.value for term in shape(parameter.type).kind if term not in value]
    return value


_EMPTY_QUOTES = re.compile(r'"\s*"')
_LONE_MINUS = re.compile(r'-(?![\w"])')


def searchable(words: str) -> str:
    """Take out of a search what negates or quotes nothing.

    Postgres 18 fails on some thirty minus signs without a word (“tsquery stack too small”).
    """
    return _LONE_MINUS.sub(" ", _EMPTY_QUOTES.sub(" ", words))
