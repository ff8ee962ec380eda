"""The sources that the cells of rows name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from api.core.sql import compose, render
from api.exchange.columns import TableRow
from api.exchange.rows import CellEdit, Edits
from api.exchange.source_names import NamedSource, find_sources
from api.sync.importing.state import ImportRun
from api.sync.importing.tables.comparing import Compared
from schemas.base import Fault

# The versions of a source are read once, however many names are asked for.
_FORMER: Final = """
    SELECT w.id::text, f.name
    FROM (
        SELECT n.id, array_agg(n.name) AS names
        FROM unnest(:ids::text[]::uuid[], :names::text[]) AS n(id, name)
        GROUP BY n.id
    ) AS w
    JOIN sources AS t ON t.id = w.id
    CROSS JOIN LATERAL (
        SELECT DISTINCT left(coalesce(d.doc ->> 'name', d.doc ->> 'description'), :most::integer)
            AS name
        FROM (
            SELECT convert_from(r.doc, 'UTF8')::json AS doc FROM revisions AS r
            WHERE r.record_type = 'source' AND r.record_id = w.id AND r.doc IS NOT NULL
                AND :saw(source, r)
            ORDER BY r.version DESC
            LIMIT {most_versions}
        ) AS d
    ) AS f
    WHERE f.name = ANY(w.names) AND :sees(source, t)"""
MAX_VERSIONS: Final = 100
"""In so many versions of a source, the newest ones, a former name is looked for."""
_MAX_NAME: Final = 200
"""How many characters of a name a table shows."""


class Named(NamedTuple):
    """What the names in a row mean: ids by the index of the cell, and what is wrong with others."""

    ids: dict[int, str]
    faults: list[Fault]


async def find_named_sources(
    run: ImportRun, compared: Sequence[Compared], edits: Sequence[Edits]
) -> list[Named]:
    """Find the sources that cells name; drop the edits that only show a former name."""
    names = {cell.text for each in edits for cell in each.edits if cell.edit.is_name and cell.text}
    found = await find_sources(run.connection, run.author.caller, names)
    await _drop_former(run, compared, edits, found)
    named = []
    for each in edits:
        row = Named({}, [])
        for cell in each.edits:
            if not cell.edit.is_name or not cell.text:
                continue
            source = found[cell.text]
            if source.id is not None:
                row.ids[cell.place] = source.id
            else:
                detail = source.why_not(_id_column(cell))
                row.faults.append(Fault((cell.column.name,), "unknown-reference", detail))
        named.append(row)
    return named


def _id_column(cell: CellEdit) -> str:
    """Name the column that has the id in the place of the name."""
    edit = cell.edit
    return f"attribution.{edit.part}" if edit.part else edit.field


async def _drop_former(
    run: ImportRun,
    compared: Sequence[Compared],
    edits: Sequence[Edits],
    found: Mapping[str, NamedSource],
) -> None:
    """Take back the edits of cells that have a name which their source had before.

    Somebody has renamed the source since the table was written, and nobody has edited the cell. If
    another source has the name now, the cell may mean that one, and is refused.
    """
    asked: dict[tuple[str, str], list[tuple[Edits, CellEdit]]] = {}
    for each, row in zip(compared, edits, strict=True):
        for cell in row.edits:
            if each.before is None or not cell.edit.is_name or not cell.text:
                continue
            identity = _id_before(cell, each.before)
            if identity is not None:
                asked.setdefault((identity, cell.text), []).append((row, cell))
    if not asked:
        return
    ids, names = map(list, zip(*asked, strict=True))
    statement = compose(_FORMER, most_versions=f"{MAX_VERSIONS}")
    query = render(statement, run.author.caller, ids=ids, names=names, most=_MAX_NAME)
    for identity, name in await run.connection.fetch(*query):
        for row, cell in asked[identity, name]:
            row.edits.remove(cell)
            if other := found[name].other_than(identity):
                detail = (
                    f"`{cell.was[:100]}`, {identity}, was called `{name[:100]}` before, and "
                    f"{other} is called so now. Write the id of the source that you mean into "
                    f"`{_id_column(cell)}`, and leave this column out."
                )
                row.faults.append(Fault((cell.column.name,), "unknown-reference", detail))


def _id_before(cell: CellEdit, before: TableRow) -> str | None:
    """Give the id of the source that a cell named."""
    if cell.edit.part is None:
        identity: str | None = before.value(cell.edit.field)
        return identity
    return next((hop[cell.edit.part] for hop in before.hops_at()), None)
