"""Rows: what the edited cells of a row change in a record.

A row is compared with the record as it was at the row's version. Only the cells that differ are
edits, whatever others have changed since. An edit is a conflict if its property was changed on both
sides. Nothing here reads the database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from api.exchange.cells import UnreadableCell, is_same, read_value, text_of
from api.exchange.columns import Column, Edit, TableRow
from api.exchange.damage import damage
from api.exchange.names import hops_at_end
from schemas.base import Fault, Path
from schemas.shapes import shape


class Row(NamedTuple):
    """A row of a table: its number, from 1 for the heading, and its cells without escapes.

    A cell that is missing at the end of the row says nothing.
    """

    number: int
    columns: Sequence[Column]
    cells: Sequence[str]

    def text(self, name: str) -> str:
        """Give the text in a column; empty if the table does not have it."""
        for column, text in zip(self.columns, self.cells, strict=False):
            if column.name == name:
                return text
        return ""

    def address(self, index: int) -> str:
        """Name a cell as spreadsheets do, such as `AB7`."""
        letters = ""
        while index >= 0:
            index, letter = divmod(index, _LETTERS)
            letters = chr(ord("A") + letter) + letters
            index -= 1
        return f"{letters}{self.number}"


_LETTERS: Final = 26
_LIST: Final = shape(list[str])
_INDEX: Final = re.compile(r"[0-9]{1,9}\Z")
"""An index in a list; the name of a property may be digits, too, and may be long."""


class CellEdit(NamedTuple):
    """A cell that somebody has edited, or filled in a new row."""

    place: int  # of the column in the table, from 0
    column: Column
    was: str
    text: str

    @property
    def edit(self) -> Edit:
        """What it changes."""
        assert self.column.edit is not None  # noqa: S101 - for the type checker
        return self.column.edit

    @property
    def target(self) -> tuple[str | None, ...]:
        """The property that it changes, and the part of it."""
        return self.edit.field, self.edit.part, self.edit.namespace


class RowState(NamedTuple):
    """A row, and what is known about it after it was compared with its record."""

    row: Row
    edits: Sequence[CellEdit] = ()
    paths: Mapping[Path, int] = {}  # see :class:`Changes`
    version: int | None = None  # of the record; null if there is none yet
    is_unchanged: bool = False
    ignored: Sequence[Fault] = ()  # see :class:`Edits`

    def index_of(self, steps: Sequence[str]) -> int | None:
        """Find the cell to which a fault belongs that is at a place in the record."""
        names = [column.name for column in self.row.columns]
        place = tuple(int(step) if _INDEX.match(step) else step for step in steps)
        for length in range(len(place), 0, -1):
            if (index := self.paths.get(place[:length])) is not None:
                return index
        parts = {path[:2] for path in self.paths if len(path) > 1}
        for index, column in enumerate(self.row.columns):  # for a part that is missing
            edit = column.edit
            if place[:2] in parts and edit and (edit.field, edit.part) == (place[0], place[-1]):
                return index
        return names.index(steps[0]) if steps and steps[0] in names else None


class Edits(NamedTuple):
    """The edits of a row, and what is wrong with its cells."""

    edits: list[CellEdit]
    faults: list[Fault]  # the path is the name of a column
    ignored: list[Fault]  # cells that show other records, and differ from what they would show


def find_edits(row: Row, before: TableRow | None) -> Edits:
    """Find the cells that differ from the record as it was; of a new one, those that are filled.

    Where a row has no version, nobody knows whether an empty cell was emptied: it says nothing.
    Nobody knows either whether a cell was edited that shows other records, or they were changed.
    """
    found = Edits([], [], [])
    has_version = row.text("version") != ""
    for index, (column, text) in enumerate(zip(row.columns, row.cells, strict=False)):
        if column.name in ("id", "version"):
            continue  # they find the record
        was = column.cell(before) if before is not None else None
        if is_same(text, was) or (not text and not has_version):
            continue
        if column.edit is None:
            faults = found.ignored if column.names_others and before else found.faults
            faults.append(_read_only(column, was, is_new=before is None))
        elif "\0" in text:
            detail = "The text contains U+0000, which can't be stored; remove it."
            found.faults.append(Fault((column.name,), "invalid-text", detail))
        elif damaged := damage(text, was, column.edit.expected):
            found.faults.append(Fault((column.name,), "invalid-value", damaged))
        else:
            found.edits.append(CellEdit(index, column, text_of(was), text))
    return _without_edited_twice(found)


def _read_only(column: Column, was: Any, *, is_new: bool) -> Fault:  # noqa: ANN401 - a cell
    """Refuse an edit of a column that only shows something."""
    detail = f"This column can't be edited. {column.instead}, or leave this column out."
    if is_new:
        detail = f"This column can't be filled in. {column.instead}, and empty this cell."
    elif text_of(was):
        detail += f" The cell would have `{text_of(was)[:100]}`."
    if column.names_others and not is_new:
        detail = (
            "This cell is ignored, and the row is written without it. If you did not edit it, a "
            f"record that it shows was changed. {detail}"
        )
    return Fault((column.name,), "read-only", detail)


def _without_edited_twice(found: Edits) -> Edits:
    """Refuse edits of the parts of a property beside one of all of it, and leave them out."""
    whole = {each.edit.field for each in found.edits if each.target[1:] == (None, None)}
    kept = Edits([], found.faults, found.ignored)
    for each in found.edits:
        if each.edit.field in whole and each.target[1:] != (None, None):
            detail = f"Edit either this cell or that of `{each.edit.field}`."
            kept.faults.append(Fault((each.column.name,), "not-allowed", detail))
        else:
            kept.edits.append(each)
    return kept


class Changes(NamedTuple):
    """What the edits of a row make of a record."""

    values: dict[str, Any]  # by property; UNSET for one that is emptied
    paths: dict[Path, int]  # the places in the record that cells give, with the index of the column
    faults: list[Fault]


def read_changes(
    edits: Sequence[CellEdit], before: TableRow | None, ids: Mapping[int, str]
) -> Changes:
    """Read the edited cells. `ids` are those of the sources that cells name, by their index."""
    changes = Changes({}, {}, [])
    given: dict[tuple[str | None, ...], Any] = {}
    for each in edits:
        try:
            value = ids[each.place] if each.place in ids else _value(each)
        except UnreadableCell as unreadable:
            changes.faults.append(Fault((each.column.name,), "invalid-value", str(unreadable)))
            continue
        if given.setdefault(each.target, value) != value:
            detail = f"This cell and another one say different things about `{each.edit.field}`."
            changes.faults.append(Fault((each.column.name,), "not-allowed", detail))
            continue
        path = _put(changes.values, each.edit, value, before)
        changes.paths.setdefault(path, each.place)
    for name in {each.edit.field for each in edits if each.edit.part}:
        changes.values[name] = [item for item in changes.values.get(name, ()) if _says(item)]
    return changes


def _says(item: Mapping[str, Any]) -> bool:
    """Tell whether an item of a list still says something, after its cells were emptied."""
    return any(value is not None for name, value in item.items() if name != "position")


def _value(cell: CellEdit) -> Any:  # noqa: ANN401 - JSON
    if not cell.text:
        return UNSET
    if cell.edit.namespace is not None:
        return _external_values(cell.text)
    return read_value(cell.text, cell.edit.expected)


def first_external_id(row: Row) -> tuple[str, str] | None:
    """Give the first external id in a row: its namespace and its value."""
    for column, text in zip(row.columns, row.cells, strict=False):
        if column.edit is None or column.edit.namespace is None or not text:
            continue
        for value in _external_values(text):
            return column.edit.namespace, value
    return None


def _external_values(text: str) -> list[Any]:
    """Read one external id, or several as a JSON list."""
    if not text.startswith("["):
        return [text]
    values: list[Any] = read_value(text, _LIST)
    if not all(isinstance(each, str) and each for each in values):
        raise UnreadableCell('Write one external id, or a list of some, such as `["one", "two"]`.')
    return values


def _put(
    values: dict[str, Any],
    edit: Edit,
    value: Any,  # noqa: ANN401 - JSON
    before: TableRow | None,
) -> Path:
    """Put a value into its property; give its place in the record."""
    if edit.part is None and edit.namespace is None:
        values[edit.field] = value
        return (edit.field,)
    if edit.field not in values:
        values[edit.field] = before.value(edit.field) if before is not None else []
    items: list[dict[str, Any]] = values[edit.field]
    if edit.namespace is not None:
        values[edit.field] = [
            *(pair for pair in items if pair["namespace"] != edit.namespace),
            *({"namespace": edit.namespace, "value": each} for each in value or ()),
        ]
        return (edit.field,)
    assert edit.part is not None  # noqa: S101 - for the type checker
    if not items:
        items.append({})
    index = _first(items) if edit.field == "attributions" else 0
    if value is UNSET:
        items[index].pop(edit.part, None)
    else:
        items[index][edit.part] = value
    return (edit.field, index, edit.part)


def _first(hops: Sequence[dict[str, Any]]) -> int:
    """Give the index of the hop that the columns of the first hop show."""
    shown = hops_at_end([{"position": 0, **hop} for hop in hops])[0]["position"]
    return [hop.get("position", 0) for hop in hops].index(shown)


class Merged(NamedTuple):
    """What a row writes, after what others have changed since."""

    values: dict[str, Any]  # by property; UNSET for one that is emptied
    conflicts: list[str]  # the properties that were changed on both sides


def merge(changes: Changes, before: TableRow, document: bytes) -> Merged:
    """Leave out what is in the record already, and find what was changed on both sides."""
    merged, now = Merged({}, []), TableRow(document)
    for name, value in changes.values.items():
        if _equal(value, before.value(name)) or _equal(value, now.value(name)):
            continue
        if now.raw(name) != before.raw(name):
            merged.conflicts.append(name)
        else:
            merged.values[name] = value
    return merged


def _equal(value: Any, stored: Any) -> bool:  # noqa: ANN401 - JSON
    """Compare a value with a stored one; an empty cell is null, or an empty list."""
    return stored in (None, []) if value is UNSET else value == stored
