"""Columns: what stands in the cells of a table of records.

First come columns that are derived for people, with the names of other records; then the fields of
the record under their own names. A list or an object is JSON in one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import msgspec

from api.core.errors import invalid_parameter
from api.core.resource import Resource
from api.exchange.cells import Cell
from api.exchange.names import MAX_NAMED, MAX_RESPONDERS, Names, Response, hops_at_end
from schemas.parts import Attribution, Quantity
from schemas.scalars import SourceId
from schemas.shapes import Shape, fields, shape
from schemas.vocabularies import RecordType

Json = dict[str, Any]

EXTERNAL_ID: Final = "external_id."
"""How the column of the external ids of one namespace begins; the namespace follows."""
_MAX_NAMESPACE: Final = 100
LEFT_OUT: Final = {(RecordType.ARTICLE, "text")}
"""Fields that only come if they are asked for: a cell of Excel ends at 32,767 characters."""
RESPONSES: Final = "responses"
"""The column that names the responses to a claim."""
_SEPARATOR: Final = "; "
_TEXT: Final = shape(str)


class TableRow:
    """A record of a table: its fields as JSON, and the names of the records that it names."""

    def __init__(
        self,
        document: bytes,
        responses: Sequence[Response] = (),
        names: Names = MappingProxyType({}),
    ) -> None:
        """Split the document into its fields, which are read only where a column needs them."""
        self._fields = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
        self.responses, self.names = responses, names

    def raw(self, name: str) -> bytes:
        """Give the JSON of a field."""
        return bytes(self._fields[name])

    def value(self, name: str) -> Any:  # noqa: ANN401 - any JSON
        """Read a field."""
        return msgspec.json.decode(self._fields[name])

    @cached_property
    def chain(self) -> list[Json]:
        """Read the chain of sources."""
        hops: list[Json] = self.value("attributions")
        return hops

    def hops_at(self, *, origin: bool = False) -> list[Json]:
        """Give the hops nearest to the reader, or nearest to the origin."""
        return hops_at_end(self.chain, origin=origin)

    def called(self, identity: str | None) -> str | None:
        """Tell what a record is called; null if the caller does not see it."""
        return self.names.get(identity) if identity is not None else None


class Edit(NamedTuple):
    """What a cell changes that somebody has edited: a property, or a part of one.

    The part is a property of the first item of a list (`part`), or the external ids in a namespace.
    """

    field: str
    expected: Shape  # of the value
    part: str | None = None
    namespace: str | None = None
    is_name: bool = False  # the cell has the name of a source, of which the id is the value


class Column(NamedTuple):
    """A column: its name, how its cells are written, and how they are read again."""

    name: str
    cell: Callable[[TableRow], Cell]
    names_others: bool = False
    edit: Edit | None = None  # null if its cells can't be edited
    instead: str = "The server sets it"  # why not, and which columns can be


def field_column(name: str, edit: Edit | None = None) -> Column:
    """Make the column of a field: text without its quotes, everything else as JSON."""

    def cell(row: TableRow) -> Cell:
        raw = row.raw(name)
        if raw == b"null":
            return None
        if raw.startswith(b'"'):
            text: str = msgspec.json.decode(raw)
            return text
        return raw.decode()

    return Column(name, cell, edit=edit)


def external_id_column(namespace: str) -> Column:
    """Make the column of the external ids in a namespace: one as it is, several as a JSON list."""

    def cell(row: TableRow) -> Cell:
        values = [
            pair["value"] for pair in row.value("external_ids") if pair["namespace"] == namespace
        ]
        if len(values) > 1:
            return msgspec.json.encode(values).decode()
        return values[0] if values else None

    edit = Edit("external_ids", _TEXT, namespace=namespace)
    return Column(EXTERNAL_ID + namespace, cell, edit=edit)


# --- the derived columns ---------------------------------------------------------------------


def _joined(texts: Iterable[str | None], most: int = MAX_NAMED) -> str | None:
    """Join what there is, each text once, as many as are shown."""
    shown = list(islice(dict.fromkeys(text for text in texts if text), most + 1))
    if len(shown) > most:
        shown[most] = "…"
    return _SEPARATOR.join(shown) or None


def _speakers(row: TableRow, hops: Iterable[Json]) -> str | None:
    """Name the sources of hops; a hop without one has its printed words."""
    return _joined(row.called(hop["source_id"]) or hop["printed"] for hop in hops)


def _vehicles(row: TableRow) -> str | None:
    return _joined(row.called(hop["via_id"]) for hop in row.chain)


def _figures(row: TableRow) -> str | None:
    return _joined(f"{each['metric']}: {each['printed']}" for each in row.value("quantities"))


def _printed_in(row: TableRow) -> str | None:
    return _joined(row.called(each["article_id"]) for each in row.value("appearances"))


def _responses(row: TableRow) -> str | None:
    return _joined(_response(row, each) for each in row.responses)


def _response(row: TableRow, response: Response) -> str:
    """Say what kind of response it is, by whom, and whether it was given up."""
    by = _joined(map(row.called, response.responders), MAX_RESPONDERS)
    standing = "" if response.validity == "standing" else f" ({response.validity})"
    return f"{response.kind}{standing}{f': {by}' if by else ''}"


def _answers(row: TableRow) -> str | None:
    """Name what a denial answers."""
    ids = ("claim_id", "denial_id", "article_id")
    return _joined(
        each["text"] or next(filter(None, (row.called(each[name]) for name in ids)), None)
        for each in row.value("targets")
    )


def _named_by(field: str) -> Callable[[TableRow], Cell]:
    return lambda row: row.called(row.value(field))


_SOURCE_ID: Final = shape(SourceId)
_ORIGIN: Final = Column(
    "origin",
    lambda row: _speakers(row, row.hops_at(origin=True)),
    names_others=True,
    instead="Edit `attributions`",
)
_DERIVED: Final[Mapping[RecordType, Sequence[Column]]] = {
    RecordType.CLAIM: (
        Column(
            "claimant",
            lambda row: _speakers(row, row.hops_at()),
            names_others=True,
            instead="Edit `attribution.source` or `attributions`",
        ),
        _ORIGIN,
        Column(
            "via",
            _vehicles,
            names_others=True,
            instead="Edit `attribution.via` or `attributions`",
        ),
        Column(
            "figure",
            _figures,
            instead="Edit `quantity.printed` and its neighbours, or `quantities`",
        ),
        Column("printed_in", _printed_in, names_others=True, instead="Edit `appearances`"),
        Column(
            RESPONSES, _responses, names_others=True, instead="Edit `targets` in a table of denials"
        ),
    ),
    RecordType.DENIAL: (
        Column(
            "responder",
            lambda row: _speakers(row, row.hops_at()),
            names_others=True,
            instead="Edit `attribution.source` or `attributions`",
        ),
        Column("answers", _answers, names_others=True, instead="Edit `targets`"),
    ),
    RecordType.SOURCE: (
        Column(
            "parent",
            _named_by("parent_id"),
            names_others=True,
            edit=Edit("parent_id", _SOURCE_ID, is_name=True),
        ),
        Column(
            "also_known_as",
            lambda row: _joined(each["name"] for each in row.value("names")),
            instead="Edit `names`",
        ),
    ),
    RecordType.ARTICLE: (
        Column(
            "publisher",
            _named_by("publisher_id"),
            names_others=True,
            edit=Edit("publisher_id", _SOURCE_ID, is_name=True),
        ),
    ),
}


# --- which records the derived columns name --------------------------------------------------

Named = tuple[RecordType, str | None]
"""The type and the id of a record that is named; a null is not looked for."""


def named_in(record_type: RecordType, row: TableRow) -> Iterator[Named]:
    """Yield the records that the derived columns of a row name."""
    if record_type in (RecordType.CLAIM, RecordType.DENIAL):
        for hop in row.chain:
            yield RecordType.SOURCE, hop["source_id"]
            yield RecordType.SOURCE, hop["via_id"]
    match record_type:
        case RecordType.CLAIM:
            for appearance in row.value("appearances"):
                yield RecordType.ARTICLE, appearance["article_id"]
            for response in row.responses:
                yield from ((RecordType.SOURCE, each) for each in response.responders)
        case RecordType.DENIAL:
            for target in row.value("targets"):
                yield RecordType.CLAIM, target["claim_id"]
                yield RecordType.DENIAL, target["denial_id"]
                yield RecordType.ARTICLE, target["article_id"]
        case RecordType.SOURCE:
            yield RecordType.SOURCE, row.value("parent_id")
        case RecordType.ARTICLE:
            yield RecordType.SOURCE, row.value("publisher_id")


# --- the first hop and the first figure over columns of their own ------------------------------


def _of_hop(name: str) -> Callable[[TableRow], Cell]:
    """Give a property of the hop nearest to the reader."""
    return lambda row: next((cast("Cell", hop[name]) for hop in row.hops_at()), None)


def _name_of_hop(name: str) -> Callable[[TableRow], Cell]:
    return lambda row: next((row.called(hop[name]) for hop in row.hops_at()), None)


def _of_figure(name: str) -> Callable[[TableRow], Cell]:
    """Give a property of the first figure."""
    return lambda row: next((cast("Cell", each[name]) for each in row.value("quantities")), None)


_HOP: Final = ("source_id", "via_id", "role", "printed", "cue", "ground_rules", "resolution")
_FIGURE: Final = (
    "metric",
    "unit",
    "qualifier",
    "value",
    "lower",
    "upper",
    "term",
    "printed",
    "population",
    "as_of",
)
_HOPS: Final = "attributions"
_FIGURES: Final = "quantities"


def _spread() -> Iterator[Column]:
    """Make the columns of the first hop, by name and by id, and of the first figure."""
    for short, name in (("source", "source_id"), ("via", "via_id")):
        edit = Edit(_HOPS, _SOURCE_ID, part=name, is_name=True)
        yield Column(f"attribution.{short}", _name_of_hop(name), names_others=True, edit=edit)
    shapes = {field.encode_name: shape(field.type) for field in fields(Attribution)}
    for name in _HOP:
        edit = Edit(_HOPS, shapes[name], part=name)
        yield Column(f"attribution.{name}", _of_hop(name), edit=edit)
    shapes = {field.encode_name: shape(field.type) for field in fields(Quantity)}
    for name in _FIGURE:
        edit = Edit(_FIGURES, shapes[name], part=name)
        yield Column(f"quantity.{name}", _of_figure(name), edit=edit)


_SPREAD: Final = {column.name: column for column in _spread()}


# --- the columns of a table ------------------------------------------------------------------


@cache
def all_columns(resource: Resource) -> Mapping[str, Column]:
    """Give the columns that a table can have, by name, in their usual order."""
    own = [field.encode_name for field in fields(resource.record)]
    edits = {
        field.encode_name: Edit(field.encode_name, shape(field.type))
        for field in fields(resource.create)
    }
    derived = _DERIVED.get(resource.type, ())
    spread = [column for column in _SPREAD.values() if column.edit and column.edit.field in own]
    columns = [*derived, *spread, *(field_column(name, edits.get(name)) for name in own)]
    return {column.name: column for column in columns}


def usual_columns(resource: Resource, *, wide: bool) -> list[Column]:
    """Give the columns of a table where none are asked for."""
    return [
        column
        for name, column in all_columns(resource).items()
        if (wide or name not in _SPREAD) and (resource.type, name) not in LEFT_OUT
    ]


def known_column(resource: Resource, name: str) -> Column | None:
    """Find the column of a name; null if a table can't have it."""
    if (column := all_columns(resource).get(name)) is not None:
        return column
    namespace = name.removeprefix(EXTERNAL_ID)
    is_external = name != namespace and 0 < len(namespace) <= _MAX_NAMESPACE
    return external_id_column(namespace) if is_external else None


def asked_columns(resource: Resource, names: str) -> list[Column]:
    """Give the columns of these names, in this order.

    Raises a problem that names the columns there are.
    """
    known = all_columns(resource)
    wanted = names.split(",")
    if len(set(wanted)) < len(wanted):
        raise invalid_parameter("columns", "Name each column once.")
    columns = []
    for name in wanted:
        if (column := known_column(resource, name)) is None:
            there = ", ".join([*known, f"{EXTERNAL_ID}…"])
            raise invalid_parameter("columns", f"There is no column `{name[:100]}`, only {there}.")
        columns.append(column)
    return columns
