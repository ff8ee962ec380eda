"""Copy the claims and denials of `newsroom.py`, to have ten times as many in a few minutes.

The triggers take about a millisecond of processor time for each claim. So the copies go around
them: the rows that the triggers derived are copied too, and the indexes are made at the end. Each
copy has ids and times of its own, and is related to the claims of its own copy. It has no history
and is not in the feed, unless `add_history` is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import asyncpg

WRITTEN: Final = 100_000
"""So many claims are there to be copied, each of which is written through the triggers."""
_FUNCTIONS: Final = (
    # The ids of claims begin with 0003, those of denials with 0004; the last digits are a number.
    """
    CREATE FUNCTION pg_temp.numbered(kind text, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS $$ SELECT (kind || '0000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid $$""",
    """
    CREATE FUNCTION pg_temp.number_of(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$ SELECT ('x' || right(id::text, 12))::bit(48)::bigint $$""",
    # There is one denial for ten claims.
    """
    CREATE FUNCTION pg_temp.shifted(id uuid, by bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE left(id::text, 4)
            WHEN '0003' THEN pg_temp.numbered('0003', pg_temp.number_of(id) + by)
            WHEN '0004' THEN pg_temp.numbered('0004', pg_temp.number_of(id) + by / 10)
            ELSE id
        END $$""",
    # The claims and denials that a record names: itself, and those that `newsroom.py` gives it.
    """
    CREATE FUNCTION pg_temp.named_by(id uuid) RETURNS uuid[] LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE left(id::text, 4)
            WHEN '0003' THEN ARRAY[id, pg_temp.numbered('0003', n.number - n.number % 5)]
            ELSE ARRAY[
                id, pg_temp.numbered('0003', n.number * 10),
                pg_temp.numbered('0004', greatest(n.number - 1, 0))
            ]
        END
        FROM (SELECT pg_temp.number_of(id) AS number) AS n $$""",
    """
    CREATE FUNCTION pg_temp.renamed(content text, id uuid, by bigint) RETURNS text
    LANGUAGE plpgsql IMMUTABLE AS $$
    DECLARE
        named uuid;
    BEGIN
        FOREACH named IN ARRAY pg_temp.named_by(id) LOOP
            content := replace(content, named::text, pg_temp.shifted(named, by)::text);
        END LOOP;
        RETURN content;
    END $$""",
)
_COLUMNS: Final = """
    SELECT c.table_name::text, c.column_name::text, c.data_type::text
    FROM information_schema.columns AS c
    JOIN information_schema.tables AS t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND c.is_generated = 'NEVER' AND c.is_identity = 'NO'
        AND t.table_type = 'BASE TABLE'"""
_INDEXES: Final = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index AS i
    WHERE i.indrelid::regclass::text = ANY($1::text[]) AND NOT EXISTS (
        SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid
    )"""
_NOT_DERIVED: Final = {
    "revisions", "outbox", "external_ids", "idempotency_keys", "audit", "feed"
}  # fmt: skip
_APART: Final = "interval '10 milliseconds'"
"""Longer than it took to write a claim, so that each copy of all is newer than the one before."""
_HISTORY: Final = {
    "revisions": {"record_id": "c.id", "at": "c.updated_at", "doc": "c.doc"},
    "outbox": {"record_id": "c.id", "at": "c.updated_at"},
    "external_ids": {"record_id": "c.id", "value": "t.value || '-' || c.id"},
}
"""What a copy has of its own in the rows that its claim is followed by."""
_OWNERS: Final = ("owner_id", "record_id", "claim_id", "denial_id")
_IDS: Final = {"id", "live_id", *_OWNERS}


async def multiply(connection: asyncpg.Connection, times: int, tell: Callable[[str], None]) -> None:
    """Copy all claims and denials, until there are so many times as many; do so only once."""
    last = await connection.fetchval("SELECT id FROM claims ORDER BY id DESC LIMIT 1")
    if last.int % 2**48 >= WRITTEN:
        return
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in await connection.fetch(_COLUMNS):
        columns.setdefault(table, {})[column] = kind
    tables = ["claims", "denials"] + [
        table
        for table, its in columns.items()
        if its.keys() & set(_OWNERS) and table not in _NOT_DERIVED
    ]
    for function in _FUNCTIONS:
        await connection.execute(function)
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        indexes = await connection.fetch(_INDEXES, tables)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        for table in tables:
            await connection.execute(_copying(table, columns[table]), times - 1)
            tell(f"{table} copied")
        for index in indexes:
            await connection.execute(index["definition"])
            tell(f"{index['name']} made")


def _copying(table: str, columns: Mapping[str, str]) -> str:
    """Write the statement that copies the rows of a table which belong to claims and denials."""
    owners = [f"t.{name}" for name in _OWNERS if name in columns]
    owner = "t.id" if table in {"claims", "denials"} else f"coalesce({', '.join(owners)})"
    names = {name: kind for name, kind in columns.items() if name != "id" or owner == "t.id"}
    values = ", ".join(_copied(name, kind, owner) for name, kind in names.items())
    return f"""
        INSERT INTO {table} ({", ".join(names)})
        SELECT {values}
        FROM {table} AS t
        CROSS JOIN generate_series(1, $1::integer) AS copy(number)
        CROSS JOIN LATERAL (SELECT copy.number::bigint * {WRITTEN} AS by) AS shift
        WHERE left({owner}::text, 4) IN ('0003', '0004')"""


def _copied(name: str, kind: str, owner: str) -> str:
    """Write the value of a column in a copy."""
    if kind == "uuid" and name in _IDS:
        return f"pg_temp.shifted(t.{name}, shift.by)"
    if name in {"created_at", "updated_at"}:
        return f"t.{name} + shift.by * {_APART}"
    if name == "doc":
        content = "convert_from(t.doc, 'UTF8')"
        return f"convert_to(pg_temp.renamed({content}, {owner}, shift.by), 'UTF8')"
    if name in {"relations", "targets"} and kind == "json":
        return f"pg_temp.renamed(t.{name}::text, {owner}, shift.by)::json"
    return f"t.{name}"


async def add_history(connection: asyncpg.Connection) -> None:
    """Give each copy of a claim its revision, its external ids and its place in the feed.

    It needs the functions that `multiply` has made on this connection.
    """
    for table, own in _HISTORY.items():
        names = [
            name
            for each, name, _ in await connection.fetch(_COLUMNS)
            if each == table and name != "xid"
        ]
        values = ", ".join(own.get(name, f"t.{name}") for name in names)
        await connection.execute(
            f"""
            INSERT INTO {table} ({", ".join(names)})
            SELECT {values}
            FROM claims AS c
            JOIN {table} AS t ON t.record_type = 'claim' AND t.record_id = pg_temp.numbered(
                '0003', pg_temp.number_of(c.id) % {WRITTEN}
            )
            WHERE c.id >= pg_temp.numbered('0003', {WRITTEN})
            ORDER BY c.created_at"""
        )
    await connection.execute("SELECT FROM sequence_feed(true)")
