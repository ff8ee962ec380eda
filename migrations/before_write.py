"""The trigger function before a write: it derives the version, the times, the class, the document."""

from __future__ import annotations

from typing import Final

from migrations.chains import FIND_CHAIN
from migrations.defining import EMBARGO, HIDDEN, RecordType, followers_of, published

# --- visibility ------------------------------------------------------------------------------------


def _signature(record_type: RecordType) -> str:
    """Write which columns decide about visibility, as arguments of the new row."""
    return ", ".join(f"NEW.{name}" for name in record_type.decides)


def visibility_function(record_type: RecordType) -> str:
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


# --- the document ----------------------------------------------------------------------------------


def content_type(record_type: RecordType) -> str:
    """Define the document's properties as a row type."""
    attributes = ", ".join(
        f"{name} {'text' if type_ == 'timestamptz' else type_}"
        for name, type_ in published(record_type).items()
    )
    return f"CREATE TYPE {record_type.type}_content AS ({attributes})"


def before_function(record_type: RecordType) -> str:
    """Define the trigger function that derives version, times, class and document."""
    table, type_ = record_type.table, record_type.type
    values = ", ".join(
        f"instant(NEW.{name})" if column == "timestamptz" else f"NEW.{name}"
        for name, column in published(record_type).items()
    )
    dropped = [f"DELETE FROM links WHERE owner_type = '{type_}' AND owner_id = OLD.id;"]
    dropped += [
        f"DELETE FROM {each.table} WHERE {each.owner} = OLD.id;"
        for each in followers_of(record_type)
    ]
    declared = ""
    if record_type.printed:
        declared = "\n        looks boolean;\n        keeps boolean := false;"
    chain = FIND_CHAIN if record_type.chained else ""
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
