"""Tables: records as CSV (RFC 4180), for spreadsheets.

A null is an empty cell, and an empty text is `""`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta

from api.core.caller import Caller
from api.core.filters import Parameter
from api.core.large_input import in_thread
from api.core.request import Request, caller, context
from api.core.resource import Resource
from api.exchange.cells import Cell, escaped, text_of
from api.exchange.columns import (
    RESPONSES,
    Column,
    TableRow,
    asked_columns,
    named_in,
    usual_columns,
)
from api.exchange.names import Reader, read_names, read_responses
from schemas.vocabularies import RecordType

_Yes = Literal["1"]
TABLE_PARAMETERS: Final = (
    Parameter(
        "columns",
        Annotated[str, Meta(min_length=1, max_length=4_000)],
        "The columns of a table, in this order, separated by commas; only with `format=csv`. Some "
        "columns are in a table only if you name them here: `external_id.` followed by a "
        "namespace, the columns of `wide`, and the `text` of an article.",
        example="id,version,note",
    ),
    Parameter(
        "wide",
        _Yes,
        "`1`: a table has columns for the first hop of the chain and for the first figure, such as "
        "`attribution.source` and `quantity.lower`.",
        example="1",
    ),
    Parameter(
        "bom",
        _Yes,
        "`1`: a table begins with the mark by which Excel knows that it is UTF-8.",
        example="1",
    ),
    Parameter(
        "trailer",
        _Yes,
        "`1`: a table ends with the line `#count,…`, the number of records, so that you can tell "
        "whether the whole table has arrived.",
        example="1",
    ),
)
_BOM: Final = "\ufeff"
_QUOTED: Final = frozenset('",\r\n')


class Table:
    """Writes the records of a list as a table."""

    def __init__(
        self,
        resource: Resource,
        columns: str | None = None,
        wide: str | None = None,
        bom: str | None = None,
        trailer: str | None = None,
    ) -> None:
        """Take the values of the parameters of a table."""
        self._type = resource.type
        self._columns = (
            asked_columns(resource, columns)
            if columns is not None
            else usual_columns(resource, wide=wide is not None)
        )
        self._bom, self._trailer = bom is not None, trailer is not None
        self.headers: Mapping[str, str] = {
            "content-disposition": f'attachment; filename="{resource.plural}.csv"'
        }

    def begin(self) -> bytes:
        """Write the names of the columns."""
        return (_BOM if self._bom else "").encode() + header(self._columns)

    async def write(self, request: Request, documents: list[bytes]) -> list[bytes]:
        """Write a row for each record, with the names of the records that it names."""
        rows = await in_thread(lambda: [TableRow(each) for each in documents])
        reader, asker = context(request).database, caller(request)
        await add_names(reader, asker, self._type, self._columns, rows)
        return await in_thread(lines, self._columns, rows)

    def end(self, count: int) -> bytes:
        """Write the line with the number of records, if it is asked for."""
        return f"#count,{count}\r\n".encode() if self._trailer else b""


async def add_names(
    reader: Reader,
    asker: Caller,
    record_type: RecordType,
    columns: Sequence[Column],
    rows: Sequence[TableRow],
) -> None:
    """Add to rows what the records are called that the columns name."""
    if not any(column.names_others for column in columns):
        return
    if any(column.name == RESPONSES for column in columns):
        ids = [row.value("id") for row in rows]
        responses = await read_responses(reader, asker, ids)
        for identity, row in zip(ids, rows, strict=True):
            row.responses = responses.get(identity, ())
    wanted = await in_thread(_named, record_type, rows)
    names = await read_names(reader, asker, wanted)
    for row in rows:
        row.names = names


def _named(record_type: RecordType, rows: Sequence[TableRow]) -> Mapping[RecordType, set[str]]:
    """Gather the ids of the records that the rows name."""
    wanted: dict[RecordType, set[str]] = defaultdict(set)
    for row in rows:
        for named_type, identity in named_in(record_type, row):
            if identity is not None:
                wanted[named_type].add(identity)
    return wanted


def lines(columns: Sequence[Column], rows: Sequence[TableRow]) -> list[bytes]:
    """Write a line for each row."""
    return [_line([column.cell(row) for column in columns]) for row in rows]


def header(columns: Sequence[Column]) -> bytes:
    """Write the line with the names of the columns."""
    return _line([column.name for column in columns])


def _line(cells: Sequence[Cell]) -> bytes:
    return (",".join(map(_written, cells)) + "\r\n").encode()


def _written(cell: Cell) -> str:
    """Write a cell; what is text, and begins like a formula, gets an apostrophe in front."""
    text = text_of(cell)
    if isinstance(cell, str):
        text = escaped(text)
        if not text or text != text.strip() or not _QUOTED.isdisjoint(text):
            return f'"{text.replace(chr(34), chr(34) * 2)}"'
    return text
