"""Filters: the query parameters of a list, declared once.

A :class:`Filter` gives query parameters, their validation, their entries in the OpenAPI document
and their SQL. The SQL is a condition on the list's table `t`, in the language of
:mod:`api.core.sql`: `:name` is the value of a parameter, and every other record that the condition
reads needs `:sees(type, alias)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, Struct

from api.core import reasons
from api.core.errors import (
    DUPLICATE_PARAMETER,
    UNKNOWN_PARAMETER,
    Problem,
    invalid_parameter,
    invalid_parameters,
)
from schemas.scalars import Bound, Id, Language, Number, moment
from schemas.shapes import is_vocabulary, shape
from schemas.vocabularies import Vocabulary

MAX_PARAMETERS: Final = 64
MAX_VALUES: Final = 200
Words = Annotated[str, Meta(min_length=1, max_length=500)]


class Parameter(Struct, frozen=True):
    """A query parameter, and the type of one value of it."""

    name: str
    type: Any
    description: str
    many: bool = False  # whether its key can be repeated
    max_items: int = MAX_VALUES  # how often
    terms: tuple[str, ...] = ()  # if it takes several, see `read_terms`; its key can be repeated
    default: Any = None
    example: Any = None  # if neither its name nor its type implies one
    required: bool = False
    read: Callable[[Any], Any] | None = None
    """Give the value in SQL; raises ValueError, with a message for clients, if it is invalid."""


class Clause(Struct, frozen=True):
    """What a parameter asks of an element, and the join that it needs for that."""

    sql: str
    join: str = ""


class Among(NamedTuple):
    """The condition that a record is among the ids that a statement selects.

    If few ids are found through few rows of another table, `first` selects these rows: they can be
    counted sooner than the ids.
    """

    ids: str
    first: str = ""

    @property
    def condition(self) -> str:
        """Write it on the list's table `t`."""
        return f"t.id IN ({self.ids})"


Writes = Callable[[Mapping[str, Any]], "str | Among"]
"""Writes the condition of the parameters that are given."""
_AMONG: Final = re.compile(r"t\.id IN \(\s*(SELECT\b.*)\)\Z", re.DOTALL)


class Filter(Struct, frozen=True):
    """A condition that applies if one of its parameters is given.

    `sql` is the condition, or writes it if it depends on the values. What is not asked for stands
    in no condition: Postgres would keep a plan for whatever might be asked. `needs` names a
    parameter that the others require, and `range` the lower and the upper bound of a range.

    A filter with `clauses` is about one element of a record, such as an appearance. In its SQL
    stand `{joins}` and `{clauses}`, for those of the given parameters: so all that is asked holds
    for the same element. `element` is its name for readers.
    """

    parameters: tuple[Parameter, ...]
    sql: str | Writes
    needs: str | None = None
    range: tuple[str, str] | None = None
    clauses: Mapping[str, Clause] = {}
    element: str = ""

    def condition(self, given: Mapping[str, Any]) -> str | Among:
        """Write the condition of those of its parameters that are given."""
        if not isinstance(self.sql, str):
            return self.sql(given)
        clauses = [clause for name, clause in self.clauses.items() if name in given]
        joins = "".join(dict.fromkeys(clause.join for clause in clauses))
        asked = " AND ".join(clause.sql for clause in clauses)
        return _among(self.sql.replace("{joins}", joins).replace("{clauses}", asked))


def _among(text: str) -> str | Among:
    """Tell a condition that a record is in a set from one on its own row."""
    found = _AMONG.match(text)
    return Among(found[1]) if found else text


def condition(
    name: str,
    kind: Any,  # noqa: ANN401 - a type
    sql: str | Writes,
    description: str,
    *,
    many: bool = False,
) -> Filter:
    """Declare a filter of one parameter."""
    return Filter((Parameter(name, kind, description, many),), sql)


def term(
    name: str, vocabulary: type[Vocabulary], noun: str, *, nullable: bool = False
) -> list[Filter]:
    """Declare the filters of a column that holds a term: `name`, `name__in`, `name__nin`."""
    others = f"t.{name} = ANY(:{name}__nin::text[])"
    known = "known and none" if nullable else "none"
    return [
        condition(name, vocabulary, f"t.{name} = :{name}::text", f"{noun} is this term."),
        condition(
            f"{name}__in",
            vocabulary,
            f"t.{name} = ANY(:{name}__in::text[])",
            f"{noun} is one of these terms.",
            many=True,
        ),
        # An index can find terms, but not exclude them: so the condition lists the other terms.
        condition(
            f"{name}__nin",
            vocabulary,
            others,
            f"{noun} is {known} of these terms.",
            many=True,
        ),
    ]


def on_one(
    element: str, sql: str, *asked: tuple[Parameter, Clause], needs: str | None = None
) -> Filter:
    """Declare a filter whose parameters all hold for one and the same element of a record."""
    clauses = {parameter.name: clause for parameter, clause in asked}
    parameters = tuple(parameter for parameter, _ in asked)
    return Filter(parameters, sql, needs=needs, clauses=clauses, element=element)


def times(name: str, noun: str, start: str | None = None, end: str | None = None) -> list[Filter]:
    """Declare `gt`, `gte`, `lt`, `lte` on a time, or on the range between two columns."""
    return [Filter((bound,), clause.sql) for bound, clause in bounds(name, noun, start, end)]


def bounds(
    name: str, noun: str, start: str | None = None, end: str | None = None
) -> list[tuple[Parameter, Clause]]:
    """Give the parameters that bound a time, each with what it asks.

    A date means its whole day in UTC. A range matches if any moment in it does.
    """
    start = start or f"t.{name}"
    after = f"{end} >" if end else f"{start} >="
    noun += " may be" if end else " is"
    return [
        (
            Parameter(f"{name}__{op}", Bound, f"{noun} {words} this date or instant."),
            Clause(f"{compared} time_bound(:{name}__{op}::text, {at_end})"),
        )
        for op, compared, at_end, words in (
            ("gt", after, "true", "after"),
            ("gte", after, "false", "at or after"),
            ("lt", f"{start} <", "false", "before"),
            ("lte", f"{start} <", "true", "at or before"),
        )
    ]


def everywhere(record_type: str) -> list[Filter]:
    """Declare the filters that every list has."""
    return [
        condition(
            "id__in",
            Id,
            _AMONG_SOURCES if record_type == "source" else "t.id = ANY(:id__in::uuid[])",
            "The records of these ids.",
            many=True,
        ),
        condition("tag", Words, "t.tags @> ARRAY[:tag::text]", "The record has this tag."),
        on_one(
            "external id",
            "t.id IN (SELECT e.record_id FROM external_ids AS e"
            f" WHERE e.record_type = '{record_type}' AND {{clauses}})",
            (
                Parameter(
                    "external_namespace",
                    Words,
                    "The other system of an external id that the record has.",
                ),
                Clause("e.namespace = :external_namespace::text"),
            ),
            (
                Parameter("external_value", Words, "The id in that system."),
                Clause("e.value = :external_value::text"),
            ),
            needs="external_namespace",
        ),
        condition(
            "q",
            Words,
            "t.search @@ search_query(:q::text)",
            "Words to search for. “Quoted phrases”, `or`, `-` before a word that must be absent,"
            " and `*` after the start of a word work. Accents, case and punctuation are ignored."
            " Chinese, Japanese, Korean and Thai texts are found by parts of their words.",
        ),
        *times("created_at", "The creation"),
        *times("updated_at", "The last change"),
    ]


# A merged source means its survivor.
_AMONG_SOURCES: Final = """t.id = ANY(ARRAY(
    SELECT survivor_of(each) FROM unnest(:id__in::uuid[]) AS each))"""


def language() -> list[Filter]:
    """Declare the filter of record types that have a language."""
    return [
        condition(
            "language",
            Language,
            # Basic filtering as RFC 4647 defines it (section 3.3.1); an index serves it.
            f"{_TAG} >= lower(:language::text) || '-' AND {_TAG} < lower(:language::text) || '.'",
            "The language of the record. Case is ignored, and `en` also finds `en-GB`.",
        )
    ]


# The key of an index. In ASCII the character behind the hyphen is the full stop.
_TAG: Final = """(lower(t.language COLLATE "C") || '-')"""


# --- reading a query string ------------------------------------------------------------------

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")


def read_query(query: bytes, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Read a query string strictly: known names, each given once, with values of their types.

    Raises one problem that lists the faults of all parameters.
    """
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for pair in query.split(b"&") if query else ():
        try:
            _read_pair(pair, parameters, given)
        except Problem as problem:
            problems.append(problem)
            if len(problems) > MAX_PARAMETERS:
                break
    if problems:
        raise invalid_parameters(problems)
    return given


def _read_pair(pair: bytes, parameters: Mapping[str, Parameter], given: dict[str, Any]) -> None:
    """Read one name with its value, and add it to those that are `given`."""
    if not pair:
        return
    raw_name, _, raw_value = pair.partition(b"=")
    name = _text(raw_name, "")
    value = _text(raw_value, name)
    parameter = parameters.get(name)
    if parameter is None:
        detail = f"This operation has no such parameter. It has: {', '.join(parameters)}."
        raise invalid_parameter(name, detail, UNKNOWN_PARAMETER)
    _add(parameter, _value(parameter, value), given)


def _add(parameter: Parameter, value: Any, given: dict[str, Any]) -> None:  # noqa: ANN401 - of its type
    name = parameter.name
    if parameter.many:
        values = given.setdefault(name, [])
        values.append(value)
        if len(values) > parameter.max_items:
            detail = f"It takes at most {parameter.max_items} values."
            raise invalid_parameter(name, detail)
    elif name in given and parameter.terms:
        given[name] += f",{value}"
    elif name in given:
        raise invalid_parameter(name, "It was sent twice; send it once.", DUPLICATE_PARAMETER)
    else:
        given[name] = value
    if len(given) > MAX_PARAMETERS:
        raise invalid_parameter(
            name, f"A request takes at most {MAX_PARAMETERS} different parameters."
        )


def _text(raw: bytes, name: str) -> str:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise invalid_parameter(name, "The query string is not UTF-8.") from None
    if "\0" in text:
        raise invalid_parameter(name, "It contains U+0000, which no text here can have.")
    return text


def read_terms(parameter: str, text: str, terms: Collection[str]) -> list[str]:
    """Read the value of a parameter that takes terms, separated by commas, each once."""
    names = text.split(",")
    if len(set(names)) < len(names) or not set(terms) >= set(names):
        raise invalid_parameter(
            parameter, f"It takes {', '.join(terms)}, separated by commas, each once."
        )
    return names


def _value(parameter: Parameter, text: str) -> Any:  # noqa: ANN401 - of the parameter's type
    """Read one value. `15` is an integer, but ` 15`, `1_5` and `15.0` are not."""
    kind = shape(parameter.type).kind
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        if kind is int and parameter.type is not Number:
            if not _WHOLE.match(text):
                raise invalid_parameter(parameter.name, "It takes a whole number.")
            return msgspec.convert(int(text), parameter.type)
        if parameter.type is Number:
            if text.strip() != text:  # JSON lets white space stand around a number
                raise invalid_parameter(parameter.name, "It takes a number.")
            return float(msgspec.json.decode(text, type=Number))
        value = msgspec.convert(text, parameter.type)
    except KeyError:
        raise invalid_parameter(parameter.name, "It takes `true` or `false`.") from None
    except msgspec.MsgspecError as error:
        detail = _reason(parameter, str(error))
        raise invalid_parameter(parameter.name, detail) from None
    if (parameter.type is Bound or shape(parameter.type).instant) and moment(text) is None:
        raise invalid_parameter(parameter.name, f"{text} is not a valid date.")
    return value


def _reason(parameter: Parameter, message: str) -> str:
    """Say in words why a value is refused, from the message of msgspec."""
    expected = shape(parameter.type)
    if is_vocabulary(expected.kind):
        return f"It takes one of {', '.join(term.value for term in expected.kind)}."
    if get_origin(expected.kind) is Literal:
        return f"It takes one of {', '.join(get_args(expected.kind))}."
    if parameter.type is Number and not message.startswith("Expected `"):
        return "It takes a number."
    return reasons.in_words(message, expected.form)


# --- from values to SQL ----------------------------------------------------------------------

_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


def conditions(
    filters: Iterable[Filter], given: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Give the conditions of the given parameters, and the value of each parameter in them."""
    found, values = sets_and_conditions(filters, given)
    return [each.condition if isinstance(each, Among) else each for each in found], values


def sets_and_conditions(
    filters: Iterable[Filter], given: Mapping[str, Any]
) -> tuple[list[str | Among], dict[str, Any]]:
    """Give the same, with what is a set as such."""
    found: list[str | Among] = []
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for each in filters if given else ():
        names = [p.name for p in each.parameters if p.name in given]
        if not names:
            continue
        if each.needs is not None and each.needs not in given:
            detail = f"It can only be used together with `{each.needs}`."
            problems.append(invalid_parameter(names[0], detail))
        lower, upper = each.range or ("", "")
        if lower in given and upper in given and given[lower] > given[upper]:
            problems.append(invalid_parameter(upper, f"It must not be below `{lower}`."))
        found.append(asked := each.condition(given))
        named = _PARAMETER.findall(asked.ids if isinstance(asked, Among) else asked)
        for parameter in each.parameters:
            # Only a question that is refused names what was not given.
            if parameter.name not in named or parameter.name not in given:
                continue
            try:
                values[parameter.name] = _argument(parameter, given[parameter.name])
            except ValueError as error:
                problems.append(invalid_parameter(parameter.name, str(error)))
    if problems:
        raise invalid_parameters(problems)
    return found, values


def _argument(parameter: Parameter, value: Any) -> Any:  # noqa: ANN401 - of its type
    """Give a value in SQL."""
    if parameter.read is not None:
        return parameter.read(value)
    if parameter.name.endswith("__nin"):
        return [term.value for term in shape(parameter.type).kind if term not in value]
    return value
