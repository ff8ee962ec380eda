"""Write the SQL of a record type: its table, its published document, its links, its history.

A migration that creates or changes a record type calls these functions and copies nothing. They
take the record type as it is at that migration (`migrations/record_types.py`), and whatever has
changed in the tables that all types share (`actor`, `targets`) as an argument, whose default is
what migration 0001 made. So the SQL of an old migration stays what it was;
`tests/test_migrations_frozen.py` compares it with a digest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

EMBARGO: Final = "embargoed_until"
"""A record type with this column among `decides` is hidden until then."""
ACTOR: Final = ("actor",)
"""The columns that say who wrote a record, in its table and in `revisions`, as 0001 made them."""
ACTOR_6: Final = ("actor", "actor_scope", "actor_request_id", "actor_route")
"""The same since 0006: the key or a name, the scope that allowed it, the request and its route."""
TARGETS: Final = ("source", "article", "claim", "denial")
"""The types that a link can lead to: a column of `links` each, as 0001 made them."""
PATH_7: Final = " SET search_path = public, pg_temp"
"""Where a trigger function looks for names since 0007, whatever the path of the session."""
JOINED: Final = "new_rows AS n JOIN old_rows AS o USING (id)"
"""The rows of an update, as they are and as they were, as 0001 joined them."""
JOINED_9: Final = "new_rows AS n FULL JOIN old_rows AS o USING (id)"
"""The same since 0009: unlike any other join, a full one is never a nested loop.

Postgres plans it for one row, and keeps the plan for a statement that changes thousands.
"""
HIDDEN: Final = 4
"""The bit of a visibility class that says that an article in which the record appears is hidden."""
SETTINGS_9: Final = f"{PATH_7} SET enable_seqscan = off"
"""As `PATH_7`, and links are looked up by their index, even while there are few of them."""
LAST: Final = """
        external_ids json NOT NULL DEFAULT '[]',
        tags text[] NOT NULL DEFAULT '{}',
        note text"""
"""The columns that every record type has behind its own."""


class Follower(NamedTuple):
    """A table whose rows follow from a record, beside the link index."""

    table: str
    owner: str  # the column with the record's id
    columns: tuple[str, ...]  # the columns of the record that its rows follow from
    fill: str  # a statement that inserts the rows of the records in `new_rows AS n`
    by_array: bool = False  # whether its rows are found by an array of ids, since 0016


class RecordType(NamedTuple):
    """What one record type's table has beyond what every table has."""

    type: str
    table: str
    columns: str  # of the table and of the document alike, in the document's order, one a line
    computed: str  # columns that the trigger derives, published behind the others
    kept: str  # columns that serve filters and are not published
    derive: str  # PL/pgSQL that sets the computed columns
    links: tuple[str, ...]  # queries over the row's columns, written as :name, for the link index
    decides: tuple[str, ...]  # the columns that decide who may see a record
    visibility: str  # its class by those columns, embargo aside
    indexes: tuple[str, ...] = ()
    follower: Follower | None = None
    targets: tuple[str, ...] = TARGETS  # the types that its links can lead to
    settings: str = (
        ""  # those of its trigger functions, `PATH_7` since 0007, `SETTINGS_9` since 0009
    )
    joined: str = JOINED  # `JOINED_9` since 0009
    printed: bool = False  # whether it has appearances, and is hidden with their articles
    prints: tuple[str, ...] = ()  # the tables of types that are hidden with records of this one
    circles: str = ""  # which rows `n` have a link that must not lead back to them, since 0010
    by_both_clocks: bool = False  # whether its embargoes end by the service's clock too, since 0017
    link_columns: tuple[str, ...] = ()  # of links, that only its `detailed_links` fill, since 0018
    detailed_links: tuple[str, ...] = ()  # queries for links with these columns
    more_followers: tuple[Follower, ...] = ()  # since 0018
    chained: bool = False  # whether its row names the sources of its attributions, since 0019
    merges: bool = False  # whether a record can be merged into another one, since 0025


# --- pieces for the definition of a record type ------------------------------------------------

REVIEWED: Final = "CASE WHEN review_status = 'published' THEN 0 ELSE 1 END"
"""The visibility of a type that has `review_status`."""
LANGUAGE: Final = "language text NOT NULL DEFAULT 'und'"


def link_to(link: str, target: str, column: str, targets: tuple[str, ...] = TARGETS) -> str:
    """Select the link that one column of the row makes, if it is not null."""
    ids = ", ".join(f":{column}" if each == target else "NULL::uuid" for each in targets)
    return f"""
        SELECT '{link}', NULL::integer, false, NULL::text, {ids}
        WHERE :{column} IS NOT NULL"""


def links_to(link: str, target: str, column: str, targets: tuple[str, ...] = TARGETS) -> str:
    """Select the links that a list of objects makes, each by its property `{target}_id`."""
    ids = ", ".join(f"each.{target}_id" if to == target else "NULL::uuid" for to in targets)
    return f"""
        SELECT '{link}', NULL::integer, false, NULL::text, {ids}
        FROM json_to_recordset(:{column}) AS each({target}_id uuid)
        WHERE each.{target}_id IS NOT NULL"""


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
        _visibility_function(record_type),
        _content_type(record_type),
        _before_function(record_type),
        f"""
    CREATE TRIGGER {table}_before BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {table}_before()
    """,
        f"""
    CREATE TRIGGER {table}_removal BEFORE DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal()
    """,
        _links_function(record_type),
        *_after_functions(record_type, actor),
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
    before = _replacing(_before_function(record_type))
    return [before, *replace_after_functions(record_type, actor)]


def replace_before_function(record_type: RecordType) -> list[str]:
    """Replace the function that derives version, times, class and document before a write."""
    return [_replacing(_before_function(record_type))]


def replace_derived(record_type: RecordType, actor: tuple[str, ...] = ACTOR) -> list[str]:
    """Replace all functions by which links and other tables follow from a record."""
    before = _replacing(_before_function(record_type))
    return [before, *_redefine_links(record_type, actor)]


def fill(record_type: RecordType, follower: Follower) -> str:
    """Fill a table that is new from the records that there are."""
    rows = f"(SELECT r.* FROM {record_type.table} AS r WHERE r.deleted_at IS NULL) AS n"
    return follower.fill.replace("new_rows AS n", rows)


def refill_links(record_type: RecordType, link: str) -> list[str]:
    """Derive the links of one kind anew from the records that there are."""
    type_ = record_type.type
    given = ", ".join(f"t.{name}" for name in _arguments(record_type))
    columns = ", ".join([*_target_columns(record_type), *_names(record_type.link_columns)])
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
    return [_replacing(statement) for statement in _after_functions(record_type, actor)]


# --- change the columns ------------------------------------------------------------------------


def with_columns(record_type: RecordType, *definitions: str) -> RecordType:
    """Define a record type with more columns, published behind its own."""
    columns = ",\n        ".join([record_type.columns, *definitions])
    return record_type._replace(columns=columns)


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
    return [name for name in _published(one) if name not in _published(other)]


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
        _content_type(after),
        _replacing(_before_function(after)),
    ]
    if before.links != after.links:
        redefined += _redefine_links(after, actor)
    return redefined


def _redefine_links(record_type: RecordType, actor: tuple[str, ...]) -> list[str]:
    return [
        f"DROP FUNCTION {record_type.type}_links",
        _links_function(record_type),
        *replace_after_functions(record_type, actor),
    ]


def _rewrite_documents(record_type: RecordType, added: dict[str, str]) -> list[str]:
    """Write each document anew: the type's properties in their order, with added values."""
    names = ["id", "version", "created_at", "updated_at", *_published(record_type)]
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


# --- columns -------------------------------------------------------------------------------------


def _typed(columns: str) -> dict[str, str]:
    """Give the names in a list of column definitions, and their types."""
    lines = (line.strip(" ,") for line in columns.splitlines())
    return {words[0]: words[1] for line in lines if (words := line.split())}


def _names(definitions: tuple[str, ...]) -> list[str]:
    return [definition.split()[0] for definition in definitions]


def _published(record_type: RecordType) -> dict[str, str]:
    return _typed(record_type.columns) | _typed(record_type.computed) | _typed(LAST)


# --- visibility and document -----------------------------------------------------------------------


def _signature(record_type: RecordType) -> str:
    """Write which columns decide about visibility, as arguments of the new row."""
    return ", ".join(f"NEW.{name}" for name in record_type.decides)


def _visibility_function(record_type: RecordType) -> str:
    """Define a record's class: 0 is public, 1 for readers of drafts, 2 for confidential readers.

    It is derived at the write, and no reading looks at the clock: so history, feed and lists agree.
    """
    types = {name: "timestamptz" if name == EMBARGO else "text" for name in record_type.decides}
    signature = ", ".join(f"{name} {type_}" for name, type_ in types.items())
    rule = record_type.visibility
    if EMBARGO in record_type.decides:
        rule = f"greatest({rule}, CASE WHEN {EMBARGO} > clock_timestamp() THEN 1 ELSE 0 END)"
    return f"""
    CREATE FUNCTION {record_type.type}_visibility({signature}) RETURNS smallint LANGUAGE sql AS $$
        SELECT ({rule})::smallint
    $$
    """


def _derive_visibility(record_type: RecordType) -> str:
    """Write the lines of the trigger that set the class, and when an embargo lifts."""
    found = f"{record_type.type}_visibility({_signature(record_type)})"
    unembargoed = found.replace(f"NEW.{EMBARGO}", "NULL")
    lifts_at = ""
    if EMBARGO in record_type.decides:
        lifts_at = f"""
        NEW.lifts_at := CASE
            WHEN NEW.deleted_at IS NULL AND NEW.visibility > 0 AND {unembargoed} = 0
            THEN NEW.{EMBARGO}
        END;"""
    was = f"OLD.visibility & {HIDDEN - 1}" if record_type.printed else "OLD.visibility"
    clocks = ""
    if record_type.by_both_clocks:
        clocks = f"""
        IF TG_OP = 'UPDATE' AND ({was}) = 0 AND NEW.{EMBARGO} = OLD.{EMBARGO} THEN
            NEW.visibility := {unembargoed}; -- no clock makes it begin again
        ELSIF NEW.visibility = 0 AND NEW.{EMBARGO} IS NOT NULL THEN
            IF NEW.{EMBARGO} > (SELECT c.at FROM embargo_clock AS c) THEN
                NEW.visibility := 1;
            END IF;
        END IF;"""
    return f"""
        NEW.visibility := {found};{clocks}
        IF TG_OP = 'UPDATE' AND NEW.deleted_at IS NOT NULL THEN
            NEW.visibility := greatest(NEW.visibility, {was}); -- no embargo ends any more
        END IF;{lifts_at}{_ADD_HIDDEN if record_type.printed else ""}"""


# Articles are looked at, and locked, only where their answer can differ from the last one: they
# are others, or somebody asks, by setting another class (`follow_articles` does).
_LOOK: Final = """
        looks := TG_OP = 'INSERT';
        IF TG_OP = 'INSERT' OR NEW.appearances::text <> OLD.appearances::text THEN
            NEW.article_ids := ARRAY(
                SELECT DISTINCT a.article_id
                FROM json_to_recordset(NEW.appearances) AS a(article_id uuid)
                ORDER BY a.article_id
            );
        ELSE
            NEW.article_ids := OLD.article_ids;
        END IF;
        IF TG_OP = 'UPDATE' THEN
            looks := NEW.article_ids IS DISTINCT FROM OLD.article_ids
                OR NEW.visibility <> OLD.visibility
                OR OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL;
            keeps := NOT looks OR NEW.deleted_at IS NOT NULL;
        END IF;"""
_ADD_HIDDEN: Final = f"""
        IF looks AND articles_hidden(NEW.article_ids) THEN
            NEW.visibility := NEW.visibility | {HIDDEN};
        ELSIF keeps THEN
            NEW.visibility := NEW.visibility | (OLD.visibility & {HIDDEN});
        END IF;"""


def _chain(attributions: str) -> str:
    """Select the sources at position 0 of a chain, at its last position, and anywhere in it."""
    return f"""
            SELECT coalesce(array_agg(DISTINCT each.id) FILTER (WHERE each.is_first), '{{}}')
                       AS first_source_ids,
                   coalesce(array_agg(DISTINCT each.id) FILTER (WHERE each.is_last), '{{}}')
                       AS last_source_ids,
                   coalesce(array_agg(DISTINCT each.id), '{{}}') AS source_ids
            FROM (
                SELECT a.source_id, a.via_id, a.audience_id, coalesce(a.position, 0) AS position,
                       max(coalesce(a.position, 0)) OVER () AS last
                FROM json_to_recordset({attributions}) AS a(
                    position integer, source_id uuid, via_id uuid, audience_id uuid
                )
            ) AS hop
            CROSS JOIN LATERAL (
                VALUES (hop.source_id, hop.position = 0, hop.position = hop.last),
                       (hop.via_id, false, false), (hop.audience_id, false, false)
            ) AS each(id, is_first, is_last)
            WHERE each.id IS NOT NULL"""


CHAIN: Final = ("first_source_ids", "last_source_ids", "source_ids")
"""The columns of a record that is `chained`."""
_FIND_CHAIN: Final = f"""
        IF TG_OP = 'INSERT' OR NEW.attributions::text <> OLD.attributions::text THEN
            SELECT chain.first_source_ids, chain.last_source_ids, chain.source_ids
            INTO NEW.first_source_ids, NEW.last_source_ids, NEW.source_ids
            FROM ({_chain("NEW.attributions")}
            ) AS chain;
        END IF;"""


def add_chains(record_types: tuple[RecordType, ...]) -> list[str]:
    """Add the sources of chains to the rows that there are; each table is written anew.

    An UPDATE would take six times as long: it derives all other columns anew too.
    """
    functions = [
        f"""
    CREATE FUNCTION their_{column}(attributions json) RETURNS uuid[]
    LANGUAGE sql IMMUTABLE AS $$
        SELECT chain.{column} FROM ({_chain("attributions")}
        ) AS chain
    $$
    """
        for column in CHAIN
    ]
    added = ", ".join(
        f"\n        -- squawk-ignore adding-field-with-default"
        f"\n        ADD COLUMN {column} uuid[] GENERATED ALWAYS AS (their_{column}(attributions)) STORED"
        for column in CHAIN
    )
    kept = ", ".join(
        f"\n        -- squawk-ignore ban-drop-generated-expression"
        f"\n        ALTER COLUMN {column} DROP EXPRESSION"
        for column in CHAIN
    )
    return [
        *functions,
        *(
            f"ALTER TABLE {each.table} {change}"
            for each in record_types
            for change in (added, kept)
        ),
        *(f"DROP FUNCTION their_{column}" for column in CHAIN),
    ]


def _content_type(record_type: RecordType) -> str:
    """Define the document's properties as a row type."""
    attributes = ", ".join(
        f"{name} {'text' if type_ == 'timestamptz' else type_}"
        for name, type_ in _published(record_type).items()
    )
    return f"CREATE TYPE {record_type.type}_content AS ({attributes})"


def _before_function(record_type: RecordType) -> str:
    """Define the trigger function that derives version, times, class and document."""
    table, type_ = record_type.table, record_type.type
    values = ", ".join(
        f"instant(NEW.{name})" if column == "timestamptz" else f"NEW.{name}"
        for name, column in _published(record_type).items()
    )
    dropped = [f"DELETE FROM links WHERE owner_type = '{type_}' AND owner_id = OLD.id;"]
    dropped += [
        f"DELETE FROM {each.table} WHERE {each.owner} = OLD.id;" for each in _followers(record_type)
    ]
    declared = ""
    if record_type.printed:
        declared = "\n        looks boolean;\n        keeps boolean := false;"
    chain = _FIND_CHAIN if record_type.chained else ""
    return f"""
    CREATE FUNCTION {table}_before() RETURNS trigger LANGUAGE plpgsql{record_type.settings} AS $$
    DECLARE
        content text;{declared}
    BEGIN{record_type.derive}{_LOOK if record_type.printed else ""}{chain}
        content := row_to_json(ROW({values})::{type_}_content)::text;
        IF TG_OP = 'INSERT' THEN
            NEW.version := 1;
            NEW.created_at := clock_timestamp();
            NEW.updated_at := NEW.created_at;
            NEW.deleted_at := NULL;
        END IF;{_derive_visibility(record_type)}
        IF TG_OP = 'UPDATE' THEN
            IF NEW.id <> OLD.id THEN
                RAISE EXCEPTION 'the id of a record does not change';
            END IF;
            IF (NEW.deleted_at IS NULL) = (OLD.deleted_at IS NULL)
                AND NEW.visibility = OLD.visibility
                AND document(OLD.id, OLD.version, OLD.created_at, OLD.updated_at, content) = OLD.doc
            THEN
                RETURN NULL; -- nothing changed: no version, no revision, no event
            END IF;
            NEW.version := OLD.version + 1;
            NEW.created_at := OLD.created_at;
            -- now() would let a later version carry an earlier time
            NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
            IF NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL THEN
                NEW.deleted_at := NEW.updated_at;
                {" ".join(dropped)}
            END IF;
        END IF;
        NEW.live_id := CASE WHEN NEW.deleted_at IS NULL THEN NEW.id END;
        NEW.doc := document(NEW.id, NEW.version, NEW.created_at, NEW.updated_at, content);
        RETURN NEW;
    END
    $$
    """


# --- what follows from a write, a statement at a time -------------------------------------------------


def _arguments(record_type: RecordType) -> list[str]:
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


def _target_columns(record_type: RecordType) -> list[str]:
    return [f"{target}_id" for target in record_type.targets]


def _links_function(record_type: RecordType) -> str:
    """Define the function that gives a row's links."""
    arguments = _arguments(record_type)
    types = _typed(record_type.columns) | _typed(record_type.computed)
    signature = ", ".join(f"{name} {types[name]}" for name in arguments)
    targets = ", ".join(
        [*(f"{column} uuid" for column in _target_columns(record_type)), *record_type.link_columns]
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


def _after_functions(record_type: RecordType, actor: tuple[str, ...]) -> list[str]:
    """Define the trigger functions that write links, external ids, history and outbox."""
    table, type_ = record_type.table, record_type.type
    arguments = _arguments(record_type)
    given = ", ".join(f"n.{name}" for name in arguments)
    columns = [*_target_columns(record_type), *_names(record_type.link_columns)]
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


def _followers(record_type: RecordType) -> list[Follower]:
    first = [record_type.follower] if record_type.follower else []
    return [*first, *record_type.more_followers]


def _follow_inserted(record_type: RecordType) -> str:
    return "\n        ".join(f"{each.fill.strip()};" for each in _followers(record_type))


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
        for each in _followers(record_type)
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
