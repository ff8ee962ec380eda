"""Write the SQL of a record type: its table, its published document, its links, its history.

A migration that creates or changes a record type calls these functions and copies nothing. They
take the record type as it is at that migration (`migrations/record_types.py`), and whatever has
changed in the tables that all types share (`actor`, `targets`) as an argument, whose default is
what migration 0001 made. So the SQL of an old migration stays what it was;
`tests/test_migrations_frozen.py` compares it with a digest. The trigger functions themselves are
in `before_write.py` and `after_write.py`.
"""

from __future__ import annotations

from typing import Final

from migrations.after_write import after_functions, arguments_of, links_function, target_columns
from migrations.before_write import before_function, content_type, visibility_function
from migrations.defining import EMBARGO, LAST, Follower, RecordType, names_of, published

ACTOR: Final = ("actor",)
"""The columns that say who wrote a record, in its table and in `revisions`, as 0001 made them."""
ACTOR_6: Final = ("actor", "actor_scope", "actor_request_id", "actor_route")
"""The same since 0006: the key or a name, the scope that allowed it, the request and its route."""


# --- create ------------------------------------------------------------------------------------


def create_table(record_type: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Create the table of a record type, and its indexes."""
    computed = f"{record_type.computed}," if record_type.computed else ""
    table = record_type.table
    actors = ",\n        ".join(f"{column} text" for column in actor)
    # When a write has to be made for the record to become public: of published ones alone.
    lifts_at = "\n        lifts_at timestamptz," if EMBARGO in record_type.decides else ""
    return [
        f"""
    CREATE TABLE {table} (
        id uuid CONSTRAINT {table}_pkey PRIMARY KEY,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,{record_type.columns},{computed}{LAST},
        {actors},
        deleted_at timestamptz,
        live_id uuid CONSTRAINT {table}_live_id_key UNIQUE,
        visibility smallint NOT NULL,{lifts_at}
        doc bytea NOT NULL,{record_type.kept}
    ) WITH (toast_tuple_target = 8160)
    """,
        f"CREATE INDEX {table}_created_at_idx ON {table} (created_at, id) WHERE deleted_at IS NULL",
        f"CREATE INDEX {table}_updated_at_idx ON {table} (updated_at, id) WHERE deleted_at IS NULL",
        f"CREATE INDEX {table}_public_created_at_idx ON {table} (created_at, id)"
        " WHERE deleted_at IS NULL AND visibility = 0",
        f"CREATE INDEX {table}_search_idx ON {table} USING gin (search)",
        f"CREATE INDEX {table}_tags_idx ON {table} USING gin (tags)",
        *(
            [f"CREATE INDEX {table}_lifts_at_idx ON {table} (lifts_at) WHERE lifts_at IS NOT NULL"]
            if lifts_at
            else []
        ),
        *record_type.indexes,
    ]


def create_functions(record_type: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Create the functions and triggers of a record type: document, links, history, outbox."""
    table = record_type.table
    return [
        visibility_function(record_type),
        content_type(record_type),
        before_function(record_type),
        f"""
    CREATE TRIGGER {table}_before BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {table}_before()
    """,
        f"""
    CREATE TRIGGER {table}_removal BEFORE DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal()
    """,
        links_function(record_type),
        *after_functions(record_type, actor),
        f"""
    CREATE TRIGGER {table}_inserted AFTER INSERT ON {table}
        REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION {table}_inserted()
    """,
        f"""
    CREATE TRIGGER {table}_updated AFTER UPDATE ON {table}
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION {table}_updated()
    """,
    ]


def create_target(record_type: RecordType) -> list[str]:
    """Let links lead to a record type that is new; its `targets` name it, beside the older ones."""
    column = f"{record_type.type}_id"
    targets = ", ".join(f"{target}_id" for target in record_type.targets)
    return [
        f"ALTER TABLE links ADD COLUMN {column} uuid",
        "ALTER TABLE links DROP CONSTRAINT links_one_target_check",
        f"""
    ALTER TABLE links ADD CONSTRAINT links_one_target_check
        CHECK (num_nonnulls({targets}) = 1)
    """,
        f"""
    ALTER TABLE links ADD CONSTRAINT links_{column}_fkey FOREIGN KEY ({column})
        REFERENCES {record_type.table} (live_id) DEFERRABLE INITIALLY IMMEDIATE
    """,
        f"CREATE INDEX links_{column}_idx ON links ({column}, owner_type, link)"
        f" WHERE {column} IS NOT NULL",
    ]


def create_concurrently(name: str, on: str) -> list[str]:
    """Create an index while others write; to be executed in an autocommit block.

    A creation that was cut off leaves an index that is not valid, so that one is dropped first.
    """
    return [
        f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}",
    ]


# --- replace -------------------------------------------------------------------------------------


def replace_functions(record_type: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Replace all trigger functions of a record type."""
    before = _replacing(before_function(record_type))
    return [before, *replace_after_functions(record_type, actor)]


def replace_before_function(record_type: RecordType) -> list[str]:
    """Replace the function that derives version, times, class and document before a write."""
    return [_replacing(before_function(record_type))]


def replace_derived(record_type: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Replace all functions by which links and other tables follow from a record."""
    before = _replacing(before_function(record_type))
    return [before, *_redefine_links(record_type, actor)]


def fill(record_type: RecordType, follower: Follower) -> str:
    """Fill a table that is new from the records that there are."""
    rows = f"(SELECT r.* FROM {record_type.table} AS r WHERE r.deleted_at IS NULL) AS n"
    return follower.fill.replace("new_rows AS n", rows)


def refill_links(record_type: RecordType, link: str) -> list[str]:
    """Derive the links of one kind anew from the records that there are."""
    type_ = record_type.type
    given = ", ".join(f"t.{name}" for name in arguments_of(record_type))
    columns = ", ".join([*target_columns(record_type), *names_of(record_type.link_columns)])
    return [
        f"DELETE FROM links WHERE owner_type = '{type_}' AND link = '{link}'",
        f"""
    INSERT INTO links (owner_type, owner_id, link, hop, is_origin, label, {columns})
    SELECT '{type_}', t.id, l.*
    FROM {record_type.table} AS t
    CROSS JOIN LATERAL {type_}_links({given}) AS l
    WHERE t.deleted_at IS NULL AND l.link = '{link}'
    """,
    ]


def replace_after_functions(record_type: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Replace the functions that write links, external ids, history and outbox after a write."""
    return [_replacing(statement) for statement in after_functions(record_type, actor)]


# --- change the columns ------------------------------------------------------------------------


def add_columns(before: RecordType, after: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Add columns to a record type, and their values to every document, those of history too.

    It makes no version: nobody has changed a record. A type with `doc` of tens of millions of rows
    needs another way, since writes wait meanwhile.
    """
    added = _definitions(after, _difference(after, before))
    return [
        *(f"ALTER TABLE {after.table} ADD COLUMN {definition}" for definition in added.values()),
        *_redefine(before, after, actor),
        *_rewrite_documents(after, {name: _default(each) for name, each in added.items()}),
    ]


def drop_columns(
    before: RecordType, after: RecordType, actor: tuple[str, ...] = ACTOR
) -> list[str]:
    """Undo `add_columns` with the same arguments."""
    dropped = _difference(after, before)
    return [
        *_redefine(after, before, actor),
        *(f"ALTER TABLE {before.table} DROP COLUMN {name}" for name in dropped),
        *_rewrite_documents(before, {}),
    ]


def change_items(record_type: RecordType, name: str, function: str) -> list[str]:
    """Change the items of a list in the column and in every document, those of history too.

    The function takes the list, as json, and gives the new one. It makes no version.
    """
    table = record_type.table
    document = f"""
        SELECT convert_to('{{' || string_agg(
            to_json(e.key)::text || ':'
            || (CASE e.key WHEN '{name}' THEN {function}(e.value) ELSE e.value END)::text,
            ',' ORDER BY e.place
        ) || '}}', 'UTF8')
        FROM json_each(convert_from(d.doc, 'UTF8')::json) WITH ORDINALITY AS e(key, value, place)"""
    # In a document, a quotation mark inside a string has a backslash before it.
    has_items = f"""strpos(convert_from(d.doc, 'UTF8'), '"{name}":[{{') > 0"""
    return [
        f"ALTER TABLE {table} DISABLE TRIGGER USER",
        f"UPDATE {table} AS d SET {name} = {function}({name}), doc = ({document}) WHERE {has_items}",
        f"ALTER TABLE {table} ENABLE TRIGGER USER",
        f"""
    UPDATE revisions AS d SET doc = ({document})
    WHERE d.record_type = '{record_type.type}' AND d.doc IS NOT NULL AND {has_items}
    """,
    ]


def _difference(one: RecordType, other: RecordType) -> list[str]:
    return [name for name in published(one) if name not in published(other)]


def _definitions(record_type: RecordType, names: list[str]) -> dict[str, str]:
    columns = f"{record_type.columns}\n{record_type.computed}"
    lines = (line.strip(" ,") for line in columns.splitlines())
    return {line.split()[0]: line for line in lines if line and line.split()[0] in names}


def _default(definition: str) -> str:
    """Write the value that a column's default is in a document, as text of JSON."""
    _, type_, *_ = definition.split()
    _, _, default = definition.partition(" DEFAULT ")
    return f"coalesce(to_json(({default or 'NULL'})::{type_})::text, 'null')"


def _redefine(before: RecordType, after: RecordType, actor: tuple[str, ...]) -> list[str]:
    """Replace the functions that write the document and, if links have changed, the link index."""
    redefined = [
        f"DROP TYPE {after.type}_content",
        content_type(after),
        _replacing(before_function(after)),
    ]
    if before.links != after.links:
        redefined += _redefine_links(after, actor)
    return redefined


def _redefine_links(record_type: RecordType, actor: tuple[str, ...]) -> list[str]:
    return [
        f"DROP FUNCTION {record_type.type}_links",
        links_function(record_type),
        *replace_after_functions(record_type, actor),
    ]


def _rewrite_documents(record_type: RecordType, added: dict[str, str]) -> list[str]:
    """Write each document anew: the type's properties in their order, with added values."""
    names = ["id", "version", "created_at", "updated_at", *published(record_type)]
    order = ", ".join(f"'{name}'" for name in names)
    values = "".join(f" UNION ALL SELECT '{name}', {value}" for name, value in added.items())
    document = f"""
        SELECT convert_to('{{' || string_agg(
            to_json(p.name)::text || ':' || p.value, ',' ORDER BY array_position(ARRAY[{order}], p.name)
        ) || '}}', 'UTF8')
        FROM (
            SELECT e.key AS name, e.value::text AS value
            FROM json_each(convert_from(d.doc, 'UTF8')::json) AS e{values}
        ) AS p
        WHERE p.name = ANY(ARRAY[{order}])"""
    return [
        f"ALTER TABLE {record_type.table} DISABLE TRIGGER USER",
        f"UPDATE {record_type.table} AS d SET doc = ({document})",
        f"ALTER TABLE {record_type.table} ENABLE TRIGGER USER",
        f"""
    UPDATE revisions AS d SET doc = ({document})
    WHERE d.record_type = '{record_type.type}' AND d.doc IS NOT NULL
    """,
    ]


def _replacing(create: str) -> str:
    return create.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


# --- drop ----------------------------------------------------------------------------------------


def drop_functions(record_type: RecordType) -> list[str]:
    """Drop what `create_functions` made, when the table is gone already."""
    table, type_ = record_type.table, record_type.type
    return [
        *(f"DROP FUNCTION {table}_{when}" for when in ("before", "inserted", "updated")),
        f"DROP FUNCTION {type_}_links",
        f"DROP FUNCTION {type_}_visibility",
        f"DROP TYPE {type_}_content",
    ]


def drop(record_type: RecordType, scope: str) -> list[str]:
    """Drop a record type with its records, their history, and the scope that allows to write them.

    The feed is numbered anew, under a new epoch: it would have holes where its changes were.
    """
    table, type_ = record_type.table, record_type.type
    column = f"{type_}_id"
    former = ", ".join(f"{target}_id" for target in record_type.targets if target != type_)
    shared = ("external_ids", "outbox", "revisions")
    return [
        f"DELETE FROM links WHERE owner_type = '{type_}' OR {column} IS NOT NULL",
        f"DROP TABLE {table} CASCADE",
        f"ALTER TABLE links DROP COLUMN {column}",
        f"""
    ALTER TABLE links ADD CONSTRAINT links_one_target_check
        CHECK (num_nonnulls({former}) = 1)
    """,
        *drop_functions(record_type),
        "DELETE FROM feed",
        "DELETE FROM feed_states",
        *(f"DELETE FROM {each} WHERE record_type = '{type_}'" for each in shared),
        f"DELETE FROM webhooks WHERE types = ARRAY['{type_}']",
        f"UPDATE webhooks SET types = array_remove(types, '{type_}')",
        f"UPDATE keys SET scopes = array_remove(scopes, '{scope}')",
    ]
