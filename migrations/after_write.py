"""The trigger functions after a write: links, other tables, history and outbox follow from a record.

Each trigger runs once for a statement, whatever the number of its rows.
"""

from __future__ import annotations

from typing import Final

from migrations.defining import HIDDEN, JOINED_9, RecordType, followers_of, names_of, typed


def arguments_of(record_type: RecordType) -> list[str]:
    """Give the columns that the link queries read, in the order of their first mention."""
    words = _UNION.join(_link_queries(record_type)).replace("::", " ").split(":")[1:]
    names = ["".join(c for c in word.split()[0] if c.isalnum() or c == "_") for word in words]
    return list(dict.fromkeys(names))


def _link_queries(record_type: RecordType) -> list[str]:
    """Give the queries for all links, each with all columns."""
    kinds = [definition.split()[1] for definition in record_type.link_columns]
    if not kinds:
        return list(record_type.links)
    nulls = ", ".join(f"NULL::{kind}" for kind in kinds)
    padded = f"""
        SELECT other.*, {nulls}
        FROM ({_UNION.join(record_type.links)}
        ) AS other"""
    return [padded, *record_type.detailed_links]


def target_columns(record_type: RecordType) -> list[str]:
    """List the columns of `links` to which the links of a type can lead."""
    return [f"{target}_id" for target in record_type.targets]


def links_function(record_type: RecordType) -> str:
    """Define the function that gives a row's links."""
    arguments = arguments_of(record_type)
    types = typed(record_type.columns) | typed(record_type.computed)
    signature = ", ".join(f"{name} {types[name]}" for name in arguments)
    targets = ", ".join(
        [*(f"{column} uuid" for column in target_columns(record_type)), *record_type.link_columns]
    )
    query = _UNION.join(_link_queries(record_type))
    for position, name in enumerate(arguments, 1):
        query = query.replace(f":{name}", f"${position}")
    return f"""
    CREATE FUNCTION {record_type.type}_links({signature}) RETURNS TABLE (
        link text, hop integer, is_origin boolean, label text,
        {targets}
    ) LANGUAGE sql STABLE AS $${query}
    $$
    """


def after_functions(record_type: RecordType, actor: tuple[str, ...]) -> list[str]:
    """Define the trigger functions that write links, external ids, history and outbox."""
    table, type_ = record_type.table, record_type.type
    arguments = arguments_of(record_type)
    given = ", ".join(f"n.{name}" for name in arguments)
    columns = [*target_columns(record_type), *names_of(record_type.link_columns)]
    targets = ", ".join(columns)
    their_targets = ", ".join(f"l.{column}" for column in columns)
    fill_links = f"""
        INSERT INTO links (owner_type, owner_id, link, hop, is_origin, label,
                           {targets})
        SELECT '{type_}', n.id, l.link, l.hop, l.is_origin, l.label,
               {their_targets}
        FROM new_rows AS n
        CROSS JOIN LATERAL {type_}_links({given}) AS l"""
    fill_external = f"""
        INSERT INTO external_ids (record_type, namespace, value, record_id)
        SELECT '{type_}', e.namespace, e.value, n.id
        FROM new_rows AS n
        CROSS JOIN LATERAL json_to_recordset(n.external_ids) AS e(namespace text, value text)"""
    hide, reveal = _follow(record_type)
    hide_new, _ = _follow(record_type, inserted=True)
    inserted = _history(record_type, actor, "'created'", "n.doc", "NULL", "new_rows AS n")
    op = _OP_28 if record_type.merges else _OP
    updated = _history(record_type, actor, op, _DOC, "o.visibility", record_type.joined)
    return [
        f"""
    CREATE FUNCTION {table}_inserted() RETURNS trigger LANGUAGE plpgsql{record_type.settings} AS $$
    BEGIN
        {fill_links.strip()};{_refuse_circles(record_type, "new_rows AS n")}
        {_follow_inserted(record_type)}
        {fill_external.strip()};
        {hide_new}{inserted}
        RETURN NULL;
    END
    $$
    """,
        f"""
    CREATE FUNCTION {table}_updated() RETURNS trigger LANGUAGE plpgsql{record_type.settings} AS $$
    BEGIN
        {_refill(record_type, "links", "owner_id", arguments, fill_links)}
        {_follow_updated(record_type)}
        {_refill(record_type, "external_ids", "record_id", ["external_ids"], fill_external, kept=True)}
        {_raise_merged(record_type, actor)}{hide}{updated}{reveal}
        RETURN NULL;
    END
    $$
    """,
    ]


_MERGED_INTO: Final = "m.state IN ('repointing', 'done') AND m.survivor_id"


def _raise_merged(record_type: RecordType, actor: tuple[str, ...]) -> str:
    """Let what is merged into a record become as confidential as that one, but never less so.

    Nothing is updated where nothing is due, or else this trigger would call itself without end.
    """
    if not record_type.merges:
        return ""
    table, type_ = record_type.table, record_type.type
    nulls = ", ".join("NULL::text" for _ in actor[1:])
    return f"""IF EXISTS (
            SELECT FROM {record_type.joined}
            JOIN source_merges AS m ON {_MERGED_INTO} = n.id
            WHERE n.visibility > o.visibility
        ) THEN
            WITH RECURSIVE merged(id, confidentiality) AS (
                SELECT m.source_id, n.confidentiality FROM {record_type.joined}
                JOIN source_merges AS m ON {_MERGED_INTO} = n.id
                WHERE n.visibility > o.visibility
                UNION
                SELECT m.source_id, merged.confidentiality FROM merged
                JOIN source_merges AS m ON {_MERGED_INTO} = merged.id
            )
            UPDATE {table} AS s
            SET (confidentiality, {", ".join(actor)})
                = ROW(merged.confidentiality, 'system', {nulls})
            FROM merged
            WHERE s.id = merged.id
                AND {type_}_visibility(merged.confidentiality) > s.visibility;
        END IF;
        """


_UNION: Final = "\n        UNION ALL"
_OP: Final = """CASE
                   WHEN n.deleted_at IS NOT NULL AND o.deleted_at IS NULL THEN 'deleted'
                   WHEN n.deleted_at IS NULL AND o.deleted_at IS NOT NULL THEN 'restored'
                   ELSE 'updated'
               END"""
_OP_28: Final = _OP.replace(
    "CASE",
    """CASE
                   WHEN n.merged_into_id IS NOT NULL AND o.merged_into_id IS NULL THEN 'merged'
                   WHEN n.merged_into_id IS NULL AND o.merged_into_id IS NOT NULL THEN 'restored'""",
).replace(" AND o.deleted_at IS NULL", "")  # what changes in a deleted source shows nothing of it
_DOC: Final = "CASE WHEN n.deleted_at IS NULL THEN n.doc END"


def _follow(record_type: RecordType, *, inserted: bool = False) -> tuple[str, str]:
    """Write the calls that hide and reveal the records that appear in those of this type.

    What is hidden comes before the article in the feed, and what is revealed behind it.
    """
    if not record_type.prints:
        return "", ""
    calls = []
    for hidden_now in (True, False):
        now, was = ("n", "o") if hidden_now else ("o", "n")
        # `coalesce`, or else Postgres would see that an inner join gives the same.
        changed = f"coalesce({now}.visibility, 0) > 0 AND coalesce({was}.visibility, 0) = 0"
        rows = f"{record_type.joined} WHERE {changed}"
        if inserted:
            rows = "new_rows AS n WHERE n.visibility > 0"
        calls.append(f"""PERFORM follow_articles(ARRAY(SELECT n.id FROM {rows}));""")
    hide, reveal = calls
    return f"{hide}\n        ", f"\n        {reveal}"


def _history(
    record_type: RecordType,
    actor: tuple[str, ...],
    op_sql: str,
    doc: str,
    before: str,
    rows: str,
) -> str:
    type_ = record_type.type
    actors = ", ".join(actor)
    their_actors = ", ".join(f"n.{column}" for column in actor)
    more, visibility, values = "", "n.visibility", ""
    if record_type.printed:
        # What is seen of a revision depends on what its articles are today.
        more, visibility = ", article_ids", f"n.visibility & {HIDDEN - 1}"
        values = ", CASE WHEN n.deleted_at IS NULL THEN n.article_ids END"
    return f"""INSERT INTO revisions
            (record_type, record_id, version, op, at, {actors}, visibility, doc{more})
        SELECT '{type_}', n.id, n.version, {op_sql}, n.updated_at, {their_actors}, {visibility}, {doc}{values}
        FROM {rows};
        INSERT INTO outbox
            (record_type, record_id, version, op, at, visibility_before, visibility_after)
        SELECT '{type_}', n.id, n.version, {op_sql}, n.updated_at, {before}, n.visibility
        FROM {rows}
        ORDER BY n.updated_at;"""


def _refuse_circles(record_type: RecordType, rows: str) -> str:
    """Write the call that refuses links by which one of some rows is reached from itself."""
    if not record_type.circles:
        return ""
    found = f"ARRAY(SELECT n.id FROM {rows} WHERE {record_type.circles})"
    return f"\n        PERFORM refuse_circles('{record_type.type}', {found});"


def _follow_inserted(record_type: RecordType) -> str:
    return "\n        ".join(f"{each.fill.strip()};" for each in followers_of(record_type))


def _follow_updated(record_type: RecordType) -> str:
    return "\n        ".join(
        _refill(
            record_type,
            each.table,
            each.owner,
            list(each.columns),
            each.fill,
            by_array=each.by_array,
        )
        for each in followers_of(record_type)
    )


def _refill(
    record_type: RecordType,
    table: str,
    owner: str,
    columns: list[str],
    fill: str,
    *,
    kept: bool = False,
    by_array: bool = False,
) -> str:
    """Derive a table's rows anew for the records whose columns changed, or that came back.

    `kept` rows are those of deleted records too. By an array, the records are found once, whatever
    Postgres believes to know of the table: it may join a table that was empty for long row by row.
    """
    old = ", ".join(f"o.{name}::text" for name in columns)
    new = ", ".join(f"n.{name}::text" for name in columns)
    changed = f"ROW({old}) IS DISTINCT FROM ROW({new})"
    moved = changed if kept else f"n.deleted_at IS NULL AND (o.deleted_at IS NOT NULL OR {changed})"
    rows = f"{record_type.joined} WHERE {moved}"
    if record_type.joined == JOINED_9:
        rows += " OFFSET 0"  # or else Postgres may find, from outside, that a lesser join will do
    filled = fill.replace("new_rows AS n", f"(SELECT n.* FROM {rows}) AS n")
    also = check = ""
    if table == "links":
        also = f"owner_type = '{record_type.type}' AND "
        check = _refuse_circles(record_type, f"(SELECT n.* FROM {rows}) AS n")
    ids = f"(SELECT n.id FROM {rows})"
    among = f"= ANY(ARRAY{ids})" if by_array else f"IN {ids}"
    return f"""IF EXISTS (SELECT FROM {rows}) THEN
            DELETE FROM {table} WHERE {also}{owner} {among};
            {filled.strip()};{check}
        END IF;"""
