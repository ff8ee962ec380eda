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
from api.exchange.names import MAX_NAMED, MAX_RESPONDERS, Names, Response, hops_at_end
from schemas.base import fields
from schemas.vocabularies import RecordType

Json = dict[str, Any]

EXTERNAL_ID: Final = "external_id."
"""How the column of the external ids of one namespace begins; the namespace follows."""
LEFT_OUT: Final = {(RecordType.ARTICLE, "text")}
"""Fields that only come if they are asked for: a cell of Excel ends at 32,767 characters."""
RESPONSES: Final = "responses"
"""The column that names the responses to a claim."""
_SEPARATOR: Final = "; "


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


Cell = str | int | float | bool | None
"""What a derived column has; a null is an empty cell."""


class Column(NamedTuple):
    """A column: its name, what it makes of a record, and whether it names other records."""

    name: str
    cell: Callable[[TableRow], Cell]
    names_others: bool = False


def field_column(name: str) -> Column:
    """Make the column of a field: text without its quotes, everything else as JSON."""

    def cell(row: TableRow) -> Cell:
        raw = row.raw(name)
        if raw == b"null":
            return None
        if raw.startswith(b'"'):
            text: str = msgspec.json.decode(raw)
            return text
        return raw.decode()

    return Column(name, cell)


def external_id_column(namespace: str) -> Column:
    """Make the column of the external ids in a namespace: one as it is, several as a JSON list."""

    def cell(row: TableRow) -> Cell:
        values = [
            pair["value"] for pair in row.value("external_ids") if pair["namespace"] == namespace
        ]
        if len(values) > 1:
            return msgspec.json.encode(values).decode()
        return values[0] if values else None

    return Column(EXTERNAL_ID + namespace, cell)


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


_CHAIN: Final = {
    "origin": lambda row: _speakers(row, row.hops_at(origin=True)),
    "via": _vehicles,
}
_DERIVED: Final[Mapping[RecordType, Mapping[str, Callable[[TableRow], Cell]]]] = {
    RecordType.CLAIM: {
        "claimant": lambda row: _speakers(row, row.hops_at()),
        **_CHAIN,
        "figure": _figures,
        "printed_in": _printed_in,
        RESPONSES: _responses,
    },
    RecordType.DENIAL: {
        "responder": lambda row: _speakers(row, row.hops_at()),
        "answers": _answers,
    },
    RecordType.SOURCE: {
        "parent": _named_by("parent_id"),
        "also_known_as": lambda row: _joined(each["name"] for each in row.value("names")),
    },
    RecordType.ARTICLE: {"publisher": _named_by("publisher_id")},
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
_SPREAD: Final[Mapping[str, Callable[[TableRow], Cell]]] = {
    "attribution.source": _name_of_hop("source_id"),
    "attribution.via": _name_of_hop("via_id"),
    **{f"attribution.{name}": _of_hop(name) for name in _HOP},
    **{f"quantity.{name}": _of_figure(name) for name in _FIGURE},
}


# --- the columns of a table ------------------------------------------------------------------


@cache
def all_columns(resource: Resource) -> Mapping[str, Column]:
    """Give the columns that a table can have, by name, in their usual order."""
    own = [field.encode_name for field in fields(resource.record)]
    derived = [Column(*each, True) for each in _DERIVED.get(resource.type, {}).items()]
    spread = [Column(*each, True) for each in _SPREAD.items()] if "attributions" in own else []
    columns = [*derived, *spread, *(field_column(name) for name in own)]
    return {column.name: column for column in columns}


def usual_columns(resource: Resource, *, wide: bool) -> list[Column]:
    """Give the columns of a table where none are asked for."""
    return [
        column
        for name, column in all_columns(resource).items()
        if (wide or name not in _SPREAD) and (resource.type, name) not in LEFT_OUT
    ]


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
        namespace = name.removeprefix(EXTERNAL_ID)
        if name in known:
            columns.append(known[name])
        elif name != namespace and namespace:
            columns.append(external_id_column(namespace))
        else:
            there = ", ".join([*known, f"{EXTERNAL_ID}…"])
            raise invalid_parameter("columns", f"There is no column `{name[:100]}`, only {there}.")
    return columns
